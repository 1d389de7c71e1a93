/** Settings of `http.tls.letsencrypt`: those of `registry:2`, and ours beside them. */
import { isIP } from 'node:net';
import * as v from 'valibot';
import { listOf, oneOf, secretTextThat, text, textThat } from './scalars.ts';

/** A name in ASCII, perhaps with `*.` before it; at least two labels are asked for elsewhere, as a private CA may do with one. */
const HOST = /^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const DIGITS = /^[\d.]+$/;

/** An address is refused elsewhere, with what to do instead. */
function host(typed: string): string | undefined {
  const name = typed.toLowerCase();
  if (isIP(name.replace(/^\[|\]$/g, '')) !== 0) return name;
  return name.length <= 253 && HOST.test(name) && !DIGITS.test(name) ? name : undefined;
}

/** RFC 8555 §6.1: a directory speaks TLS, always. */
function directory(typed: string): string | undefined {
  if (typed === '') return '';
  const url = URL.canParse(typed) ? new URL(typed) : undefined;
  return url?.protocol === 'https:' && url.username === '' && url.hash === '' ? url.href : undefined;
}

const isEmail = /^[^\s@,?<>]+@[^\s@,?<>]+$/;

export const acmeSchema = v.object({
  cachefile: v.nullish(text('the path of a folder')),
  email: v.nullish(
    textThat('an address such as "admin@example.com"', (typed) =>
      typed === '' || isEmail.test(typed) ? typed : undefined,
    ),
  ),
  hosts: v.nullish(
    listOf(textThat('the name of a host such as "registry.example.com", without scheme and port', host)),
  ),
  directoryurl: v.nullish(
    textThat('a URL such as "https://acme-v02.api.letsencrypt.org/directory"', directory),
  ),
  challenge: v.nullish(oneOf('http-01', 'tls-alpn-01', 'dns-01')),
  hook: v.nullish(text('the path of a program')),
  eab: v.nullish(
    v.object({
      kid: text('the key identifier that the directory gave'),
      hmackey: secretTextThat('the HMAC key that the directory gave, in base64url', (typed) =>
        /^[\w+/-]{8,}={0,2}$/.test(typed) ? typed : undefined,
      ),
    }),
  ),
  ca: v.nullish(text('the path of a PEM file')),
});
