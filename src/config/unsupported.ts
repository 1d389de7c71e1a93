/**
 * What `registry:2` (versions 2 and 3) understands and this version does not honour. To support a setting, take
 * it out of this table and put it into `schema.ts`; names here may lie inside sections of that schema.
 */
import { isSet, type Node } from './tree.ts';

export interface Unsupported {
  /**
   * `refuse`: going on without it would open what the operator closed, or put the data elsewhere.
   * `warn`: the registry works without it. `accept`: there is nothing to do for us.
   */
  readonly effect: 'refuse' | 'warn' | 'accept';
  /** Why, or what to do, for the message; begins where "not supported yet" ends. */
  readonly advice?: string;
  /** Whether the value asks for the thing at all; by default `isSet`. */
  readonly asks?: (node: Node) => boolean;
}

const warn: Unsupported = { effect: 'warn' };
const accept: Unsupported = { effect: 'accept' };

/** Naming the section is asking for it, even with nothing in it. */
const named = () => true;

const storageDriver: Unsupported = {
  effect: 'refuse',
  advice:
    'use the filesystem driver, or stay with your present registry until this one can open that storage',
  asks: named,
};

function isEnabled(node: Node): boolean {
  if (node.kind !== 'map') return isSet(node);
  const enabled = node.entries.get('enabled')?.value;
  return isSet(node) && (enabled === undefined || isSet(enabled));
}

function hasEnabledPart(node: Node): boolean {
  if (node.kind !== 'map') return isSet(node);
  return [...node.entries.values()].some((entry) => isEnabled(entry.value));
}

/** By dotted name. */
export const UNSUPPORTED: Readonly<Record<string, Unsupported>> = {
  'log.hooks': warn,
  'log.reportcaller': warn,

  'storage.s3': storageDriver,
  'storage.azure': storageDriver,
  'storage.gcs': storageDriver,
  'storage.swift': storageDriver,
  'storage.oss': storageDriver,
  'storage.rados': storageDriver,
  // Our caches need no setting, and a local folder has nowhere to redirect to.
  'storage.cache': accept,
  'storage.redirect': accept,
  'storage.tag': accept,

  middleware: warn,

  'http.http2': accept,
  'http.h2c': { effect: 'warn', asks: isEnabled },

  notifications: warn,
  redis: warn,
  health: { effect: 'warn', asks: hasEnabledPart },
  'proxy.cachewritetimeout': accept,
  policy: warn,
  reporting: warn,
  'compatibility.schema1': { effect: 'warn', asks: isEnabled },
};
