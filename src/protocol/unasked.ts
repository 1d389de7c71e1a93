/** The resources that a client needs before it can log in: nobody is asked who they are. */
import type { Access } from '../auth/access.ts';
import type { Connection, RootCa } from './exchange.ts';
import { nothingHere } from './nothing-here.ts';
import { rootCaAnswer } from './root-ca.ts';
import type { Route } from './router.ts';
import { ping } from './search.ts';

const UNASKED = ['root', 'root-ca', 'v1-ping', 'token', 'keys'] as const;

export type UnaskedRoute = Extract<Route, { readonly resource: (typeof UNASKED)[number] }>;

export function isUnasked(route: Route): route is UnaskedRoute {
  return UNASKED.some((resource) => resource === route.resource);
}

/** @throws RegistryError 404 where the registry gives out no tokens */
export async function answerUnasked(
  { tokens }: Access,
  route: UnaskedRoute,
  request: Request,
  connection: Connection,
  rootCa: RootCa | undefined,
): Promise<Response> {
  const { resource } = route;
  if (resource === 'root-ca') return withoutBody(request.method, rootCaAnswer(rootCa, route.form));
  if (resource === 'root') {
    return new Response(null, { headers: { 'Content-Length': '0', 'Cache-Control': 'no-cache' } });
  }
  if (resource === 'v1-ping') return withoutBody(request.method, ping());
  if (tokens === undefined) throw nothingHere();
  return resource === 'token'
    ? tokens.answer(request, connection)
    : withoutBody(request.method, tokens.keys());
}

/** The answer as HEAD has it. */
export function withoutBody(method: string, response: Response): Response {
  if (method !== 'HEAD') return response;
  return new Response(null, { status: response.status, headers: response.headers });
}
