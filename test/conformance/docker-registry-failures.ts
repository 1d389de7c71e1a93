/** A shortcoming of Debian's `docker-registry` (distribution 2.8) that the suite must see. */
export interface KnownFailure {
  readonly reason: string;
  /** Names of tests; `*` stands for any text. */
  readonly tests: readonly string[];
}

const SUITE = 'OCI Conformance Test';

/** Names whose outcome depends on who comes first, or on what else the server holds. */
export const UNSTEADY: readonly KnownFailure[] = [
  {
    reason: 'writers of one session are not kept apart: errors, and even wrong bytes under a digest',
    tests: ['beyond/concurrency/two *PUTs *on one session*', 'beyond/concurrency/two PATCHes *'],
  },
  {
    reason: 'tags come in directory order, which differs from file system to file system',
    tests: [
      'beyond/concurrency/sixteen tags pushed at once',
      'beyond/tags/all, in byte order',
      'beyond/tags/n* gives all and no Link',
      'beyond/tags/n=2147483648 is clamped, not refused',
      'beyond/tags/Link by Link *',
      'beyond/limits/ten ?tag= *',
    ],
  },
  {
    reason: 'pages of the catalog are now and then cut short',
    tests: ['beyond/catalog/every repository once, *', 'beyond/catalog/Link by Link *'],
  },
  {
    reason: 'lists of more than 2 KiB are sent chunked; how long the catalog is depends on earlier runs',
    tests: ['beyond/every answer of the run/Content-Length wherever there is a body'],
  },
];

/** What it fails at both levels; tests of the level `dev` are among them. */
export const KNOWN_FAILURES: readonly KnownFailure[] = [
  {
    reason: 'there is no referrers API',
    tests: [
      `${SUITE}/empty/referrers`,
      `${SUITE}/*/referrers`,
      `${SUITE}/*-with-subject/push/manifest-by-digest`,
      `${SUITE}/index-with-subject/push/manifest-by-tag`,
      `${SUITE}/missing-subject/push/manifest-by-digest`,
      `${SUITE}/tag-param-sha256/push/manifest-by-digest`,
      'OCI 1.1.1 suite/discovery/referrers *',
      'beyond/referrers/Link by Link *',
      'beyond/referrers/the filter *',
      'beyond/referrers/repeated *',
      'beyond/referrers/without *',
      'beyond/referrers/a *',
      'beyond/referrers/an index *',
      'beyond/referrers/n=*',
      'beyond/referrers/HEAD',
      'beyond/referrers/pushing *',
      'beyond/referrers/deleting *',
      'beyond/referrers/hostile *',
      'beyond/errors/PUT referrers/sha256 is 405 with Allow',
    ],
  },
  {
    reason: 'blobs pushed under sha512 are answered as sha256',
    tests: [
      ...['post+put', 'chunked single', 'stream', 'chunked multi', 'chunked multi and put chunk'].flatMap(
        blobSteps,
      ),
      ...['mount missing', 'empty', 'emptyJSON'].flatMap(blobSteps),
      `${SUITE}/*sha512/push/blob`,
      `${SUITE}/*sha512/head/blob`,
      `${SUITE}/*sha512/pull/blob`,
      'beyond/uploads/sha512 that only the closing PUT names',
    ],
  },
  {
    reason: 'manifests under sha512 are refused',
    tests: [
      `${SUITE}/*sha512/push/manifest-by-digest`,
      `${SUITE}/*sha512/head/manifest-by-*`,
      `${SUITE}/*sha512/pull/manifest-by-*`,
    ],
  },
  { reason: 'a blob under sha512 is mounted as sha256', tests: blobSteps('mount') },
  {
    reason: 'Content-Range of a chunk is ignored: nothing is out of order',
    tests: [
      ...['', '/blob-head', '/blob-get'].flatMap((step) => [
        `${SUITE}/sha*/chunked out-of-order${step}`,
        `${SUITE}/sha*/chunked out-of-order and put chunk${step}`,
      ]),
      'OCI 1.1.1 suite/push/chunks: *',
      'beyond/uploads/Content-Range: *',
    ],
  },
  {
    reason:
      'a 416 announces the whole blob as its length, and ends early; other units and cases of units too',
    tests: [
      `${SUITE}/*/range 500-0`,
      `${SUITE}/*/range 5000-10000`,
      'beyond/conditional/Range: bytes=2000-99999999999999999999',
      'beyond/conditional/Range: Bytes=0-9',
      'beyond/conditional/Range: bytes=-0',
      'beyond/conditional/Range: bytes=2048-',
      'beyond/conditional/Range: bytes=abc',
      'beyond/conditional/Range: bytes=-',
      'beyond/conditional/Range: lines=0-9',
    ],
  },
  {
    reason: 'several ranges are answered as multipart, and ranges on HEAD as well',
    tests: [
      'beyond/conditional/Range: bytes=0-9,20-29',
      'beyond/conditional/Range: bytes=0-0,1-1,2-2,3-*',
      'beyond/conditional/Range on HEAD is ignored',
    ],
  },
  {
    reason: 'n and last of tag lists are ignored, as is HEAD',
    tests: [
      ...[
        'image*',
        'large-manifest',
        '*index*',
        'artifact*',
        'data-field',
        '*-layers',
        'custom-fields',
        'tag-param-*',
      ].map((set) => `${SUITE}/${set}/tag-list`),
      'OCI 1.1.1 suite/discovery/tags: n and last',
      'beyond/tags/n=1 *',
      'beyond/tags/n=5 *',
      'beyond/tags/n=13 *',
      'beyond/tags/n=0 *',
      'beyond/tags/last is exclusive',
      'beyond/tags/last with n',
      'beyond/tags/last need not exist',
      'beyond/tags/last behind everything',
      'beyond/tags/n=-1 is 400',
      'beyond/tags/n=abc is 400',
      'beyond/tags/n=1*5 is 400',
      'beyond/tags/n=1e99 is 400',
      'beyond/tags/n=0x10 is 400',
      'beyond/tags/HEAD',
      'beyond/requests/?* is tolerated everywhere',
      'beyond/requests/a forged * is not in a Link',
    ],
  },
  {
    reason: 'the list of a repository without tags is null or 404',
    tests: ['beyond/tags/a repository without tags *', 'beyond/catalog/a repository that has lost *'],
  },
  {
    reason: 'DELETE by tag is refused as a wrong digest, not as unsupported',
    tests: [
      'OCI 1.1.1 suite/management/DELETE of a tag *',
      'OCI 1.1.1 suite/management/the number of tags *',
      'beyond/errors/DELETE of an unknown tag *',
    ],
  },
  {
    reason: 'layers with URLs are refused, with 500, unless a setting allows the URLs',
    tests: [
      ...['push', 'head', 'pull'].map((step) => `${SUITE}/non-distributable-layers/${step}/manifest-by-*`),
      'beyond/manifests/accepted: an absent layer with URLs *',
      'beyond/manifests/accepted: an absent layer of the type application/vnd.oci.image.layer.nondistributable.v1.tar',
      'beyond/manifests/accepted: an absent layer of the type application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
    ],
  },
  {
    reason: '?tag= is unknown (the level dev only)',
    tests: [
      `${SUITE}/tag-param-sha256/head/manifest-by-tag`,
      `${SUITE}/tag-param-sha256/pull/manifest-by-tag`,
      'beyond/limits/too many ?tag= *',
      'beyond/limits/one invalid ?tag= *',
      'beyond/limits/?tag= in a push by tag is 400',
      'beyond/limits/a repeated ?tag= *',
      'beyond/limits/a ?tag= moves *',
    ],
  },
  {
    reason: 'what is malformed is 500, or 400 with another code',
    tests: [
      `${SUITE}/invalid-digest-format/*`,
      'beyond/names/a name of 256 characters is refused',
      'beyond/manifests/refused *: JSON null',
      'beyond/manifests/refused *: schemaVersion 1',
      'beyond/manifests/refused *: schemaVersion absent',
      'beyond/manifests/refused *: config absent',
      'beyond/manifests/refused *: digest absent',
      'beyond/manifests/refused *: a malformed digest',
      'beyond/manifests/refused *: a digest in upper case',
      'beyond/manifests/refused *: a digest with a path in it',
      'beyond/types/a blob of a manifest is no manifest',
      'beyond/every answer of the run/no 5xx',
    ],
  },
  {
    reason: 'the document is not looked at closely: ambiguous and wrong ones are stored',
    tests: [
      'beyond/manifests/refused *: bytes that are no UTF-8',
      'beyond/manifests/refused *: a key twice*',
      'beyond/manifests/refused *: mediaType twice',
      'beyond/manifests/refused *: a known key in another case',
      'beyond/manifests/refused *: MediaType beside mediaType',
      'beyond/manifests/refused *: a descriptor key *',
      'beyond/manifests/refused *: a negative size',
      'beyond/manifests/refused *: a size above 2^53 - 1',
      'beyond/manifests/refused *: size absent',
      'beyond/manifests/refused *: mediaType absent in a descriptor',
      'beyond/manifests/refused *: a malformed mediaType in a descriptor',
      'beyond/manifests/refused *: data that is not the content',
      'beyond/manifests/refused *: a subject *',
    ],
  },
  {
    reason: 'a manifest without Content-Type is refused',
    tests: ['beyond/manifests/accepted: no Content-Type, *'],
  },
  { reason: 'too large is 400, not 413', tests: ['beyond/limits/*is 413 *'] },
  {
    reason: 'Accept decides: other types are 404, 400, or another manifest',
    tests: ['docker-image', 'docker-list', 'oci-image', 'oci-index'].flatMap((kind) =>
      acceptsOf(kind).map((accept) => `beyond/types/${kind} comes as it is for ${accept}`),
    ),
  },
  {
    reason: 'If-None-Match knows only the ETag alone, the 304 has none, and writes know no conditions',
    tests: [
      'beyond/conditional/manifest *: * with If-None-Match of the ETag*',
      'beyond/conditional/manifest *: * with If-None-Match of a list *',
      'beyond/conditional/manifest *: * with If-None-Match of [*] is 304',
      'beyond/conditional/If-Match and If-None-Match on a push by tag',
      'beyond/concurrency/four creations *',
    ],
  },
  {
    reason: 'unknown uploads are BLOB_UPLOAD_INVALID',
    tests: ['beyond/errors/* of an unknown upload *', 'beyond/uploads/a session is of its repository only'],
  },
  {
    reason: 'POST does not look at digest or digest-algorithm',
    tests: ['beyond/errors/POST with *', 'beyond/uploads/an unknown digest-algorithm *'],
  },
  {
    reason: 'what an interrupted PATCH brought is lost with its session',
    tests: ['beyond/uploads/a PATCH whose client hangs up can be resumed'],
  },
  { reason: 'Content-Encoding is ignored', tests: ['beyond/uploads/Content-Encoding is 415, *'] },
  {
    reason: 'invalid names and wrong methods are answered by the router, in plain text',
    tests: [
      'beyond/names/repository * is refused: *',
      'beyond/errors/* tags/list is 405 with Allow',
      'beyond/errors/* manifests/tag is 405 with Allow',
      'beyond/errors/PUT blobs/sha256 is 405 with Allow',
    ],
  },
  {
    reason: 'Locations are made of the Host and X-Forwarded headers, unless relativeurls is set',
    tests: ['beyond/requests/a forged * is not in a Location'],
  },
  {
    reason: 'paths are unescaped, cleaned and redirected',
    tests: [
      '//v2/a/b/tags/list',
      '/v2//a/b/tags/list',
      '/v2/a/b//tags/list',
      '/v2/a%2Fb/tags/list',
      '/v2/a/b/tags%2Flist',
      '/v2/a/b/tags/list/',
      '/v2/a/b/%74ags/list',
      '/v2/./a/b/tags/list',
      '/v2/x/../a/b/tags/list',
      '/v2/x/%2e%2e/a/b/tags/list',
    ].map((target) => `beyond/requests/GET ${target} is *`),
  },
  {
    reason: 'a path that leads out of the API is redirected to there',
    tests: ['beyond/requests/no target leads out of the API'],
  },
  {
    reason: 'n of the catalog: what is no number is ignored, what is large is refused with a code of its own',
    tests: ['beyond/catalog/n=*', 'beyond/every answer of the run/4xx JSON bodies *'],
  },
  {
    reason: 'nosniff is not sent on content',
    tests: ['beyond/every answer of the run/nosniff *'],
  },
];

function blobSteps(name: string): readonly string[] {
  return ['', '/blob-head', '/blob-get'].map((step) => `${SUITE}/sha512 blobs/${name}${step}`);
}

/** The `Accept` headers by which a kind of manifest does not come as it is. */
function acceptsOf(kind: string): readonly string[] {
  const own: Readonly<Record<string, string>> = {
    'docker-image': 'vnd.docker.distribution.manifest.v2',
    'docker-list': 'vnd.docker.distribution.manifest.list.v2',
    'oci-image': 'vnd.oci.image.manifest.v1',
    'oci-index': 'vnd.oci.image.index.v1',
  };
  const types = [...Object.values(own), 'vnd.docker.distribution.manifest.v1'].filter(
    (type) => type !== own[kind],
  );
  const suffix = (type: string): string =>
    type.endsWith('manifest.v1') && type.includes('docker') ? 'prettyjws' : 'json';
  return [
    'no Accept',
    ...['[*]/[*]', 'application/json'].map((type) => `Accept: ${type}`),
    ...types.map((type) => `Accept: application/${type}+${suffix(type)}`),
  ];
}

/** Whether a test's name is one of these; `*` in a pattern stands for any text, `[*]` for itself. */
export function matches(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => {
    const parts = pattern.split(/(\[\*\]|\*)/).map((part) => {
      if (part === '*') return '.*';
      return part === '[*]' ? String.raw`\*` : part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
    });
    return new RegExp(`^${parts.join('')}$`, 's').test(name);
  });
}
