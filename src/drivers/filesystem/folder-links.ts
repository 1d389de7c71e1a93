/** Symbolic links to folders: which of them lead to what is there under another name, so that a walk would go in circles. */
import { lstatSync, readlinkSync, realpathSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Recent } from '../../recent.ts';
import type { Alias } from '../driver.ts';

/** Links to folders elsewhere that are remembered; further ones are followed without being compared. */
const MOST = 1_000;

/** Milliseconds for which it is remembered where a prefix leads, and of how many. */
const REMEMBERED_FOR = 1_000;
const MOST_REMEMBERED = 10_000;
/** Links that lead to links: as many as Linux follows. */
const MOST_LINKS = 40;

export class FolderLinks {
  readonly #root: string;
  /** Where links lead that are followed, by their prefixes. */
  readonly #followed = new Map<string, string>();

  readonly #real = new Recent<{ readonly prefix: string; readonly until: number }>({ most: MOST_REMEMBERED });

  constructor(root: string) {
    this.#root = root;
  }

  /** See `FindsAliases`. Costs one look at the folder unless it is a link. */
  aliasOf(prefix: string, within: string): Alias | undefined {
    const target = this.#targetOf(prefix);
    if (target === undefined) {
      if (this.#followed.size > 0) this.#followed.delete(prefix);
      return undefined;
    }
    let isAround = false;
    for (let at = parentOf(prefix); at.length >= within.length; at = parentOf(at)) {
      const real = realPath(`${this.#root}/${at}`);
      if (real === undefined) continue;
      if (isIn(target, real)) return { path: target, prefix: at + below(target, real) };
      isAround ||= isIn(real, target);
    }
    if (isAround) return { path: target };
    for (const [other, known] of this.#followed) {
      if (other === prefix || !isIn(target, known) || (target === known && other > prefix)) continue;
      if (this.#targetOf(other) === known) return { path: target, prefix: other + below(target, known) };
      this.#followed.delete(other);
    }
    if (this.#followed.size < MOST || this.#followed.has(prefix)) this.#followed.set(prefix, target);
    return undefined;
  }

  /** See `FindsAliases`. Costs a look at each folder on the way once a second. */
  realPrefix(prefix: string, within: string): string {
    const now = performance.now();
    const known = this.#real.get(prefix);
    if (known !== undefined && now < known.until) return known.prefix;
    const real = this.#follow(prefix, within);
    this.#real.set(prefix, { prefix: real, until: now + REMEMBERED_FOR });
    return real;
  }

  /**
   * Link by link, as one may lead below another that leads out: the system's own answer would tell only where that is. A
   * folder that is reached by a link out of `within` alone has the name of that link.
   */
  #follow(prefix: string, within: string): string {
    const base = realPath(`${this.#root}/${within}`);
    if (base === undefined) return prefix;
    let names = prefix.slice(within.length, -1).split('/');
    let links = 0;
    for (let count = 1; count <= names.length; count += 1) {
      const target = linkAt(`${base}/${names.slice(0, count).join('/')}`);
      if (target === 'nothing') break;
      if (target === 'no link') continue;
      const real = realPath(target);
      const inside = [
        [target, base],
        [target, resolve(this.#root, within)],
        ...(real === undefined ? [] : [[real, base] as const]),
      ].find(([path = '', folder = '']) => isIn(path, folder));
      if (inside === undefined) continue;
      if ((links += 1) > MOST_LINKS) return prefix;
      const [path = '', folder = ''] = inside;
      names = [...below(path, folder).split('/').slice(0, -1), ...names.slice(count)];
      count = 0;
    }
    return names.length === 0 ? prefix : `${within}${names.join('/')}/`;
  }

  /** Where the folder is, if a link leads to it. */
  #targetOf(prefix: string): string | undefined {
    const path = `${this.#root}/${prefix.slice(0, -1)}`;
    try {
      if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return undefined;
    } catch {
      return undefined; // who reads it is told
    }
    return realPath(path);
  }
}

/** Where a link leads, as it says itself. */
function linkAt(path: string): string {
  try {
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (stats === undefined) return 'nothing';
    if (!stats.isSymbolicLink()) return 'no link';
    return resolve(realpathSync(dirname(path)), readlinkSync(path));
  } catch {
    return 'nothing'; // who reads it is told
  }
}

/** undefined where nothing is, or links go in a circle: there is nothing to be walked through then. */
function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

function parentOf(prefix: string): string {
  return prefix.slice(0, prefix.lastIndexOf('/', prefix.length - 2) + 1);
}

function isIn(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

/** The rest of the path as the end of a prefix. */
function below(path: string, folder: string): string {
  return path === folder ? '' : `${path.slice(folder.length + 1)}/`;
}
