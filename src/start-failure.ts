/** A file or folder that the configuration names cannot be used. The message is for the operator. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure';
}
