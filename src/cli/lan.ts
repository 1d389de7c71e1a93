/**
 * What `entrepot serve --lan` means, as variables: TLS by itself, `registry.local`, everybody pulls and who has an account
 * pushes. What the environment says otherwise counts.
 */
import type { Environment } from '../config/environment.ts';

const MEANT: Environment = {
  REGISTRY_HTTP_ADDR: ':5000',
  REGISTRY_HTTP_TLS_AUTO: 'true',
  REGISTRY_HTTP_TLS_PLAINADDR: ':5080',
  REGISTRY_MDNS_ENABLED: 'true',
  REGISTRY_ACCESS: '{pull: anonymous, push: users, delete: users}',
};

/** The account that is made when there is none. */
export const LAN_ACCOUNT = 'admin';

export function lanEnvironment(env: Environment): Environment {
  return { ...MEANT, ...env };
}
