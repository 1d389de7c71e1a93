/**
 * The error that a promise is rejected with. (`expect(…).rejects` is typed as if it need not be awaited.)
 * @throws Error when the promise is fulfilled
 */
export async function failureOf(promise: Promise<unknown>): Promise<Error> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
  throw new Error(`expected a failure, got ${JSON.stringify(value)}`);
}
