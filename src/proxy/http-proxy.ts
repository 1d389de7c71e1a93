/**
 * The HTTP proxy that the environment names for a URL: `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` (the names in lower
 * case count too, and first), unless the host is in `NO_PROXY`: names, with what is below them, `*`, a port after a colon.
 */
export function proxyFor(
  url: URL,
  env: Readonly<Record<string, string | undefined>> = process.env,
): URL | undefined {
  const of = (name: string) => env[name.toLowerCase()] ?? env[name] ?? '';
  const named = of(url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY') || of('ALL_PROXY');
  if (named === '' || isExcepted(url, of('NO_PROXY'))) return undefined;
  const text = /^[a-z]+:\/\//i.test(named) ? named : `http://${named}`;
  return URL.canParse(text) ? new URL(text) : undefined;
}

function isExcepted(url: URL, exceptions: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return exceptions.split(/[\s,]+/).some((exception) => {
    if (exception === '*') return true;
    const [, name = '', itsPort] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(exception.toLowerCase()) ?? [];
    if (name === '' || (itsPort !== undefined && itsPort !== port)) return false;
    return host === name || host.endsWith(`.${name}`);
  });
}
