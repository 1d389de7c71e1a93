import { StorageFailure } from '../drivers/driver.ts';

/**
 * Does a part of a job that others can do without: where what it needs cannot be read, that is told and the job goes on.
 * @returns whether it was done
 */
export async function unlessUnreadable(
  work: () => Promise<void>,
  onUnreadable: (failure: StorageFailure) => void,
): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (!(error instanceof StorageFailure)) throw error;
    onUnreadable(error);
    return false;
  }
}
