import type { Access } from './access.ts';
import { bearerRefusal } from './challenge.ts';

/**
 * `registry:2`'s `auth.silly`, for the development of clients: any Authorization header will do, and is not looked at.
 */
export function sillyAccess(challenge: { readonly realm: string; readonly service: string }): Access {
  return {
    authorize(request, _requester, scopes) {
      if (request.headers.get('authorization') === null)
        return Promise.reject(bearerRefusal(challenge, scopes));
      return Promise.resolve({
        name: 'silly',
        may: () => Promise.resolve(true),
        sees: () => Promise.resolve(true),
      });
    },
  };
}
