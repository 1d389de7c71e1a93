/** The section `proxy`, as it is written. */
import * as v from 'valibot';
import {
  duration,
  filledListOf,
  flag,
  listOf,
  secretText,
  secretTextThat,
  text,
  textThat,
} from './scalars.ts';
import { parseDuration } from './durations.ts';
import type { Findings } from './findings.ts';
import { type Node, nodeAt, type Path } from './tree.ts';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 2 ** 10,
  mi: 2 ** 20,
  gi: 2 ** 30,
  ti: 2 ** 40,
};

/** A size in bytes: a number, with a unit of 1000 (`50GB`) or of 1024 (`50GiB`). */
export function parseSize(typed: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?i?)b?$/i.exec(typed.trim()) ?? [];
  const factor = UNITS[unit.toLowerCase()];
  return amount === undefined || factor === undefined ? undefined : Math.floor(Number(amount) * factor);
}

/** Warns of a size that is a bare number: whoever means gigabytes has written nearly nothing. */
export function warnOfUnitless(root: Node, path: Path, findings: Findings): void {
  const node = nodeAt(root, path);
  const typed = node?.kind === 'scalar' ? node.text.trim() : '';
  if (!/^[\d.]+$/.test(typed) || Number(typed) === 0) return;
  const text = `has no unit, so it counts bytes; write "${typed}B" if that is meant, or a unit such as "MB"`;
  findings.warningAt(root, path, text);
}

/** `100/6h`: so many in such a time. */
export function parseRate(typed: string): { readonly count: number; readonly perMs: number } | undefined {
  const [, count, per] = /^(\d{1,9})\s*\/\s*(.+)$/.exec(typed.trim()) ?? [];
  if (count === undefined || per === undefined || Number(count) === 0) return undefined;
  const perMs = parseDuration(/^\d/.test(per) ? per : `1${per}`);
  return perMs === undefined || perMs <= 0 ? undefined : { count: Number(count), perMs };
}

/** A login in it would be shown by messages, so the value never is. */
const url = () =>
  secretTextThat(
    'a URL such as "https://registry.example.com" (a login goes into username and password)',
    (typed) =>
      typed === '' || (/^https?:\/\/[^/\s?#@]+(?:\/[^\s?#@]*)?$/.test(typed) && URL.canParse(typed))
        ? typed
        : undefined,
  );

/** A host as images name it; no address, as a path names no machine of this network. */
const publicHost = () =>
  textThat('a host such as "ghcr.io", or "*"', (typed) =>
    typed === '*' || (/^[a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d{1,5})?$/.test(typed) && !/^[\d.:]+$/.test(typed))
      ? typed
      : undefined,
  );

const exec = v.object({
  command: text('the path of a docker credential helper'),
  lifetime: v.nullish(duration()),
});

const login = {
  username: v.nullish(text()),
  password: v.nullish(secretText()),
  exec: v.nullish(exec),
};

const upstream = v.object({
  name: textThat('a host or a short name in lower case', (typed) =>
    /^[a-z0-9]+(?:[._-]+[a-z0-9]+)*$/.test(typed) && typed !== 'proxy' ? typed : undefined,
  ),
  url: v.nullish(url()),
  ...login,
  ttl: v.nullish(duration()),
  tagttl: v.nullish(duration()),
  tags: v.nullish(v.array(v.object({ match: text('a pattern such as "v*"'), ttl: duration() }))),
  allow: v.optional(filledListOf(text('a pattern of names such as "library/*"'))),
  deny: v.nullish(listOf(text('a pattern of names such as "library/*"'))),
  ca: v.nullish(text('the path of a PEM file')),
  insecure: v.nullish(flag()),
  hosts: v.nullish(listOf(text('a host, with its port if it has one'))),
  timeout: v.nullish(duration(1)),
  ratelimit: v.nullish(textThat('a number in a time, such as "100/6h"', parseRate)),
  push: v.nullish(flag()),
});

export const proxySchema = v.object({
  remoteurl: v.nullish(url()),
  ...login,
  ttl: v.nullish(duration()),
  tagttl: v.nullish(duration()),
  timeout: v.nullish(duration(1)),
  upstreams: v.nullish(v.array(upstream)),
  allow: v.nullish(listOf(publicHost())),
  own: v.nullish(listOf(text('a host, as images name it'))),
  maxsize: v.nullish(textThat('a size such as "50GB" or "500MiB"', parseSize)),
  push: v.nullish(flag()),
});
