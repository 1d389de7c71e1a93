/** `entrepot delete`: by the rules that go for the API too. It works on the storage, beside a server that runs or not. */
import { loggerFor, openOwnRegistry } from '../app.ts';
import { cachedNames, wireProxy } from '../app-proxy.ts';
import { type HeldRegistry, holdToQuotas } from '../app-quota.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { RegistryError } from '../oci/errors.ts';
import { glob } from '../oci/glob.ts';
import { isRepositoryName, isTag, isTagPattern, type RepositoryName, type Tag } from '../oci/name.ts';
import type { Registry, Repository } from '../oci/registry.ts';
import { StartFailure } from '../start-failure.ts';
import { changeStorage } from './change-storage.ts';
import { CommandFailure, type CommandIo, exitCodeOf, processIo } from './command-io.ts';
import { promptLine } from './prompt-line.ts';
import { differenceOf, loadForStorage } from './run-job.ts';

export interface DeleteFlags {
  readonly dryRun?: boolean | undefined;
  /** Does not ask. */
  readonly yes?: boolean | undefined;
  /** One JSON object a line: for each tag, or for the manifest or the repository. */
  readonly json?: boolean | undefined;
}

export interface DeleteCommandOptions extends DeleteFlags {
  readonly file?: string | undefined;
  /** `REPOSITORY`, `REPOSITORY:TAG`, `REPOSITORY:PATTERN` or `REPOSITORY@DIGEST`. */
  readonly what: string;
}

/** Tags that are looked at a time. */
const PAGE = 1000;

/** Deletes a tag, a manifest, tags by a pattern, or a repository. @returns the exit code: 1 also when something had to stay */
export async function deleteContent(
  options: DeleteCommandOptions,
  io: CommandIo = processIo(),
): Promise<number> {
  return exitCodeOf(io, async () => {
    const target = parseTarget(options.what);
    try {
      const config = await loadForStorage(options.file, io);
      const { deleteEnabled } = config.storage;
      if (!deleteEnabled) {
        throw new CommandFailure(
          'storage.delete.enabled: deletion is disabled in this registry; REGISTRY_STORAGE_DELETE_ENABLED=true allows it for one command',
        );
      }
      const { dryRun: isTelling = false } = options;
      const asked = { job: 'delete', options: {}, file: options.file };
      const difference = await differenceOf(config, asked, { isTelling, mayOnlyRead: isTelling });
      if (difference !== undefined) io.err(`${difference}\n`);
      await changeStorage(config, 'delete', io, async (storage) => {
        const log = loggerFor(config);
        let quotas: HeldRegistry | undefined;
        const hold = (local: Registry): Registry => {
          const isCached = cachedNames(config);
          const isOwn = (name: RepositoryName) => !isCached(name);
          quotas = holdToQuotas(config, storage, local, { isOwn, readOnly: () => false }, log);
          return quotas.registry;
        };
        const own = openOwnRegistry(config, storage, { hold });
        // It knows which names are other registries', of which nothing is deleted so.
        const registry = wireProxy(config, storage, own, log) ?? own;
        try {
          await carryOut(registry.repository(target.name), target, options, io);
        } finally {
          await quotas?.settled();
        }
      });
    } catch (error) {
      if (error instanceof RegistryError) throw new CommandFailure(`${options.what}: ${error.message}`);
      if (error instanceof StartFailure) throw new CommandFailure(error.message);
      throw error;
    }
  });
}

type Target = { readonly name: RepositoryName } & (
  | { readonly kind: 'repository' }
  | { readonly kind: 'tag'; readonly tag: Tag }
  | { readonly kind: 'pattern'; readonly pattern: string }
  | { readonly kind: 'manifest'; readonly digest: Digest }
);

/** @throws CommandFailure */
function parseTarget(text: string): Target {
  const [, name = '', separator, reference = ''] = /^([^:@]+)(?:([:@])(.+))?$/.exec(text) ?? [];
  if (!isRepositoryName(name))
    throw new CommandFailure(`${text}: ${name || text} is no repository’s name`, 2);
  if (separator === undefined) return { name, kind: 'repository' };
  if (separator === '@') {
    if (!isDigest(reference)) throw new CommandFailure(`${text}: ${reference} is no digest`, 2);
    return { name, kind: 'manifest', digest: reference };
  }
  if (isTag(reference)) return { name, kind: 'tag', tag: reference };
  if (isTagPattern(reference)) return { name, kind: 'pattern', pattern: reference };
  throw new CommandFailure(`${text}: ${reference} is no tag, and no pattern such as "dev-*"`, 2);
}

async function carryOut(
  repository: Repository,
  target: Target,
  { what, dryRun = false, yes = false, json = false }: DeleteCommandOptions,
  io: CommandIo,
): Promise<void> {
  const { name } = target;
  const done = dryRun ? 'would be deleted' : 'deleted';
  const fate = dryRun ? { goes: true } : { deleted: true };
  const tell: Tell = (item, line) => {
    if (json) io.out(`${JSON.stringify(item)}\n`);
    else io.out(`${line}\n`);
  };
  switch (target.kind) {
    case 'tag': {
      const digest = await repository.tags.delete(target.tag, { dryRun });
      const item = { what: 'tag', repository: name, tag: target.tag, digest, ...fate };
      tell(item, `${name}:${target.tag} ${done} (${digest})`);
      return;
    }
    case 'manifest': {
      const tags = await repository.manifests.delete(target.digest, { dryRun });
      const detail = tags.length === 0 ? 'no tag pointed at it' : `with its tags ${tags.join(', ')}`;
      const item = { what: 'manifest', repository: name, digest: target.digest, tags, ...fate };
      tell(item, `${what} ${done}, ${detail}`);
      return;
    }
    case 'pattern':
      return deletePattern(repository, target.pattern, { dryRun, yes, tell, json }, io);
    case 'repository': {
      const counted = await repository.delete({ dryRun: true });
      if (!dryRun && !yes) await confirm(`${name} with all in it (${count(counted)})`, io);
      const { tags, manifests, blobs, uploads } = dryRun ? counted : await repository.delete();
      const gone = { tags, manifests, blobs, uploads };
      tell({ what: 'repository', repository: name, ...gone, ...fate }, `${name} ${done}: ${count(gone)}`);
    }
  }
}

/** Tells what was done: to programs, or to people. */
type Tell = (item: Readonly<Record<string, unknown>>, line: string) => void;

async function deletePattern(
  repository: Repository,
  pattern: string,
  {
    dryRun,
    yes,
    json,
    tell,
  }: { readonly dryRun: boolean; readonly yes: boolean; readonly json: boolean; readonly tell: Tell },
  io: CommandIo,
): Promise<void> {
  const { name } = repository;
  const match = glob(pattern);
  if (!dryRun && !yes) await confirm(`all tags of ${name} that match ${pattern}`, io);
  let gone = 0;
  let stayed = 0;
  for (let last: Tag | undefined; ;) {
    const page = { limit: PAGE, ...(last === undefined ? {} : { last }) };
    const { tags, next } = await repository.deleteTags(match, page, { dryRun });
    for (const { tag, digest, kept } of tags) {
      if (kept === undefined) gone += 1;
      else stayed += 1;
      const told = kept === undefined ? (dryRun ? 'would be deleted' : 'deleted') : `stays: ${kept}`;
      const fate =
        kept === undefined ? (dryRun ? { goes: true } : { deleted: true }) : { stays: true, why: kept };
      tell({ what: 'tag', repository: name, tag, digest, ...fate }, `${name}:${tag} ${told} (${digest})`);
    }
    if (next === undefined) break;
    last = next;
  }
  if (gone + stayed === 0) {
    if (!json) io.out(`${name}: no tag matches ${pattern}\n`);
    return;
  }
  if (!json) io.out(`${gone} tags ${dryRun ? 'would be deleted' : 'deleted'}, ${stayed} stay\n`);
  if (stayed > 0) throw new CommandFailure(`${name}: ${stayed} tags that match ${pattern} stay`);
}

/** @throws CommandFailure unless somebody says yes */
async function confirm(what: string, io: CommandIo): Promise<void> {
  if (io.input.isTTY !== true)
    throw new CommandFailure(`${what} would be deleted: say --yes, or look first by --dry-run`, 2);
  io.err(`Delete ${what}? [y/N] `);
  const answer = await promptLine(io);
  if (!/^y(?:es)?$/i.test(answer.trim())) throw new CommandFailure('nothing is deleted');
}

function count(counted: {
  readonly tags: number;
  readonly manifests: number;
  readonly blobs: number;
  readonly uploads: number;
}): string {
  return Object.entries(counted)
    .map(([name, number]) => `${number} ${number === 1 ? name.slice(0, -1) : name}`)
    .join(', ');
}
