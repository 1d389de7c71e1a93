/**
 * Node cannot tell what a `Response` was made of, only its stream, and reading that costs three times the CPU of
 * reading the file itself. So on Node the global `Response` is replaced by one that remembers.
 */

/** The bodies that have a known length and need no stream. */
export type ResponseSource = string | Uint8Array | Blob;

/**
 * A part of a local file, in bytes `[start, end)`. A storage driver sets it on a `Blob` under `FILE_SLICE`, which
 * lets Node read the file by its path.
 */
export interface FileSlice {
  readonly path: string;
  readonly start: number;
  readonly end: number;
}

/** The property of a `Blob` that holds its `FileSlice`. A registered symbol, so that nothing needs importing. */
export const FILE_SLICE = Symbol.for('entrepot.fileSlice');

const SOURCE = Symbol('source');

class SourcedResponse extends Response {
  readonly [SOURCE]: ResponseSource | undefined;

  constructor(body?: ConstructorParameters<typeof Response>[0], init?: ResponseInit) {
    super(body, init);
    this[SOURCE] =
      typeof body === 'string' || body instanceof Uint8Array || body instanceof Blob ? body : undefined;
  }

  static override json(data: unknown, init?: ResponseInit): Response {
    // As bytes, which unlike a string bring no content type of their own.
    const response = new SourcedResponse(Buffer.from(JSON.stringify(data)), init);
    if (!response.headers.has('content-type')) response.headers.set('content-type', 'application/json');
    return response;
  }
}

/** Makes every `Response` from now on remember its source. Calling it again changes nothing. */
export function rememberSources(): void {
  if (globalThis.Response !== SourcedResponse) globalThis.Response = SourcedResponse;
}

/** What the response was made of, unless it is a stream, nothing, or was read already. */
export function sourceOf(response: Response): ResponseSource | undefined {
  return response instanceof SourcedResponse && !response.bodyUsed ? response[SOURCE] : undefined;
}

/** Size of a source in bytes. */
export function sizeOf(source: ResponseSource): number {
  if (typeof source === 'string') return Buffer.byteLength(source);
  return source instanceof Blob ? source.size : source.byteLength;
}

/** The file behind a blob, where its maker told it. */
export function fileSliceOf(blob: Blob): FileSlice | undefined {
  return (blob as { readonly [FILE_SLICE]?: FileSlice })[FILE_SLICE];
}
