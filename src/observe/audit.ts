import type { Audit, Logger } from '../log.ts';

/**
 * The audit log: a line of the log for each login, push, delete, mount, denial. The logger should be one that keeps
 * `info` whatever the log's level is.
 */
export function auditTo(log: Logger): Audit {
  return ({ event, account, remoteAddress, result, repository, reference, detail }) => {
    log.info('audit', {
      event,
      result,
      account: account === '' ? undefined : account.slice(0, 128),
      from: remoteAddress === '' ? undefined : remoteAddress,
      repository,
      reference: reference?.slice(0, 256),
      detail: detail?.slice(0, 256),
    });
  };
}
