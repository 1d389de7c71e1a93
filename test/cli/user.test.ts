import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { EventEmitter } from 'node:events';
import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { compareSync, hashSync } from 'bcryptjs';
import { parseHtpasswd } from '../../src/auth/htpasswd.ts';
import type { CommandInput, CommandIo } from '../../src/cli/command-io.ts';
import { printPasswordHash } from '../../src/cli/hash-password.ts';
import { userAdd, userList, userPasswd, userRemove } from '../../src/cli/user.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

const ONE = hashSync('one', 4);
/** For the configuration, which warns of low costs. Nobody logs in with it. */
const CONFIGURED = ONE.replace('$04$', '$10$');
const TWO = hashSync('two', 4);
/** With the cost that tests can afford. */
const COST_WARNING =
  'warning: with cost 4 whoever reads the hash guesses passwords fast; 10 or more is advised\n';
const COST_4 = { cost: '4' };

let workspace: Workspace;
let number = 0;
beforeAll(async () => {
  workspace = await createWorkspace('users');
});
afterAll(() => workspace.remove());

class Input extends EventEmitter implements CommandInput {
  readonly isTTY: boolean;
  readonly rawModes: boolean[] = [];
  readonly #chunks: readonly (string | Uint8Array)[];

  constructor(isTTY: boolean, chunks: readonly (string | Uint8Array)[]) {
    super();
    this.isTTY = isTTY;
    this.#chunks = chunks;
  }

  setRawMode(on: boolean): void {
    this.rawModes.push(on);
  }

  resume(): void {
    queueMicrotask(() => {
      for (const chunk of this.#chunks) this.emit('data', chunk);
      this.emit('end');
    });
  }

  pause(): void {}

  async *[Symbol.asyncIterator](): AsyncIterator<string | Uint8Array> {
    yield* this.#chunks;
    await Promise.resolve();
  }
}

/** What commands print, with temporary folders called `DIR`. */
function printed(input: Input = new Input(false, [])) {
  const io: CommandIo & { output: string; errors: string } = {
    env: {},
    input,
    output: '',
    errors: '',
    out: (text) => void (io.output += text),
    err: (text) => void (io.errors += text.replace(COST_WARNING, '')),
  };
  return io;
}

const typed = (...chunks: readonly (string | Uint8Array)[]) => printed(new Input(true, chunks));
const piped = (...chunks: readonly (string | Uint8Array)[]) => printed(new Input(false, chunks));

/** A configuration with its data in a folder of its own. */
async function configured(...lines: readonly string[]) {
  number += 1;
  const folder = await workspace.folder(String(number));
  const file = `${folder}/config.yml`;
  const storage = `storage: {filesystem: {rootdirectory: ${folder}/data}}`;
  await writeFile(file, `${['version: 0.1', storage, ...lines].join('\n').replaceAll('DIR', folder)}\n`);
  const state = `${folder}/data/_entrepot/htpasswd`;
  const told = (text: string) => text.replaceAll(folder, 'DIR');
  const hashes = async (path = state) => parseHtpasswd(await readFile(path, 'utf8')).hashes;
  return { folder, file, state, told, hashes };
}

const HINT =
  'The registry does not ask for logins yet: everybody may do everything. To let only accounts push, add this line to DIR/config.yml:\n  access: {pull: anonymous, push: users}\n';

describe('user add', () => {
  test('asks twice without showing anything, and gives the terminal back', async () => {
    const { file, state, told, hashes } = await configured('access: {pull: anonymous, push: users}');
    const input = new Input(true, ['sec', 'ret\r', 'secret\r']);
    const io = printed(input);
    expect(await userAdd({ file, name: 'alice', ...COST_4 }, io)).toBe(0);
    expect(io.errors).toBe('Password: \nAgain: \n');
    expect(told(io.output)).toBe('added alice to DIR/data/_entrepot/htpasswd\n');
    expect(compareSync('secret', (await hashes()).get('alice') ?? '')).toBe(true);
    expect((await stat(state)).mode & 0o777).toBe(0o600);
    expect(input.rawModes).toEqual([true, false]);
    expect(input.eventNames()).toEqual([]);
  });

  test('says how to ask for logins where none are asked for', async () => {
    const { file, told, hashes } = await configured();
    const io = piped('secret\n');
    expect(await userAdd({ file, name: 'alice', passwordStdin: true, ...COST_4 }, io)).toBe(0);
    expect(told(io.errors)).toBe(HINT);
    expect((await hashes()).size).toBe(1);
  });

  test('takes the file that the configuration names', async () => {
    const { folder, file, told, hashes } = await configured('auth: {htpasswd: {realm: x, path: DIR/people}}');
    await writeFile(`${folder}/people`, `# ours\nbob:${ONE}\n`);
    const io = piped('secret');
    expect(await userAdd({ file, name: 'alice', passwordStdin: true, ...COST_4 }, io)).toBe(0);
    expect(told(io.output)).toBe('added alice to DIR/people\n');
    expect([...(await hashes(`${folder}/people`)).keys()]).toEqual(['bob', 'alice']);
    expect(await readFile(`${folder}/people`, 'utf8')).toStartWith('# ours\n');
  });

  test('finds the configuration by the environment', async () => {
    const { file, hashes } = await configured('access: {push: users}');
    const io = { ...piped('secret\r\n'), env: { REGISTRY_CONFIGURATION_PATH: file } };
    expect(await userAdd({ name: 'alice', passwordStdin: true, ...COST_4 }, io)).toBe(0);
    expect(compareSync('secret', (await hashes()).get('alice') ?? '')).toBe(true);
  });

  test('takes a password from the command line, and says what that means', async () => {
    const { file, hashes } = await configured('access: {push: users}');
    const io = printed();
    expect(await userAdd({ file, name: 'alice', password: 'secret', ...COST_4 }, io)).toBe(0);
    expect(io.errors).toStartWith('warning: a password on the command line can be read by everybody');
    expect(io.output + io.errors).not.toContain('secret');
    expect((await hashes()).size).toBe(1);
  });

  test('replaces nobody, neither of the file nor of the configuration', async () => {
    const { file, told, hashes } = await configured(`users: {bob: '${CONFIGURED}'}`, 'access: {push: users}');
    const add = (name: string) => {
      const io = piped('secret');
      return userAdd({ file, name, passwordStdin: true, ...COST_4 }, io).then((code) => [
        code,
        told(io.errors),
      ]);
    };
    expect((await add('alice'))[0]).toBe(0);
    const before = (await hashes()).get('alice');
    expect(await add('alice')).toEqual([
      1,
      'alice exists already in DIR/data/_entrepot/htpasswd; "entrepot user passwd" changes the password\n',
    ]);
    const [code, errors] = await add('bob');
    expect(code).toBe(1);
    expect(errors).toContain('bob is defined in DIR/config.yml; change it there');
    expect((await hashes()).get('alice')).toBe(before ?? '');
  });

  test('made at once for one name is made once', async () => {
    const { file } = await configured('access: {push: users}');
    const codes = await Promise.all(
      ['a', 'b', 'c', 'd'].map((word) =>
        userAdd({ file, name: 'alice', passwordStdin: true, ...COST_4 }, piped(word)),
      ),
    );
    expect(codes.sort((one, other) => one - other)).toEqual([0, 1, 1, 1]);
  });

  test('refuses names, passwords and costs that cannot be', async () => {
    const { file, folder } = await configured('access: {push: users}');
    const bad: readonly (Partial<Parameters<typeof userAdd>[0]> & { says: string })[] = [
      { name: '', says: "is no account's name" },
      { name: 'a:b', says: "is no account's name" },
      { name: '*', says: "is no account's name" },
      { name: 'a\u001B[2J', says: '"a\\u001b[2J" is no account' },
      { password: '', says: 'the password is empty' },
      { password: 'x'.repeat(73), says: 'the password has 73 bytes' },
      { password: 'a\tb', says: 'the password holds a control character' },
      { password: 'x', passwordStdin: true, says: 'expected one of the two' },
      { cost: '3', says: '--cost: expected a number from 4 to 16, found "3"' },
      { cost: '17', says: '--cost' },
      { cost: 'ten', says: '--cost' },
      { cost: 4.5, says: '--cost' },
      { says: 'there is no terminal' },
    ];
    for (const { says, ...options } of bad) {
      const io = printed();
      expect(await userAdd({ file, name: 'alice', ...options }, io)).toBe(2);
      expect(io.errors).toContain(says);
      expect(io.output).toBe('');
    }
    expect(await stat(`${folder}/data`).catch(() => 'nothing')).toBe('nothing');
  });

  test('fails where no accounts can be kept or none are asked for', async () => {
    const cases: readonly (readonly [readonly string[], string])[] = [
      [['storage: inmemory'], 'the storage is in memory'],
      [['storage: inmemory', 'access: {push: users}'], 'the storage is in memory'],
      [['storage: inmemory', 'auth: {silly: {realm: x, service: y}}'], 'auth.silly'],
      [
        ['storage: inmemory', 'auth: {token: {realm: "https://x", service: y, issuer: z, jwks: /k}}'],
        'kept by another server (auth.token: https://x)',
      ],
      [['storage: nonsense'], 'nonsense'],
    ];
    for (const [lines, says] of cases) {
      const file = workspace.join(`case-${says.length}.yml`);
      await writeFile(file, `version: 0.1\n${lines.join('\n')}\n`);
      const io = piped('secret');
      expect(await userAdd({ file, name: 'alice', passwordStdin: true, ...COST_4 }, io)).toBe(1);
      expect(io.errors).toContain(says);
    }
    const io = piped('secret');
    expect(await userAdd({ file: '/nowhere.yml', name: 'alice', passwordStdin: true }, io)).toBe(1);
    expect(io.errors).toContain('there is no such file');
  });

  test('says what is wrong with the file', async () => {
    const { file, folder, told } = await configured('auth: {htpasswd: {realm: x, path: DIR/a/people}}');
    await writeFile(`${folder}/a`, 'no folder');
    const io = piped('secret');
    expect(await userAdd({ file, name: 'alice', passwordStdin: true, ...COST_4 }, io)).toBe(1);
    expect(told(io.errors)).toContain('DIR/a/people cannot be');
    const other = await configured('auth: {htpasswd: {realm: x, path: DIR/people}}');
    await mkdir(`${other.folder}/people`);
    const again = piped('secret');
    expect(await userAdd({ file: other.file, name: 'alice', passwordStdin: true, ...COST_4 }, again)).toBe(1);
    expect(other.told(again.errors)).toContain('DIR/people cannot be read: it is no file');
  });
});

describe('a password that is typed', () => {
  const hash = async (...chunks: readonly (string | Uint8Array)[]) => {
    const io = typed(...chunks);
    const code = await printPasswordHash(COST_4, io);
    return { code, hash: io.output.trim(), errors: io.errors };
  };

  test('can be corrected', async () => {
    for (const keys of ['secrex\u007Ft\r', 'secrex\bt\n', 'wrong\u0015secret\r', '\u007Fsecret\r']) {
      const { code, hash: made } = await hash(keys, 'secret\r');
      expect(code).toBe(0);
      expect(compareSync('secret', made)).toBe(true);
    }
  });

  test('can be pasted with both lines, and have letters of several bytes that come apart', async () => {
    expect((await hash('secret\r\nsecret\r\n')).code).toBe(0);
    const bytes = Buffer.from('pä💡\r');
    const { hash: made } = await hash(...[...bytes].map((byte) => Uint8Array.of(byte)), 'pä💡x\u007F\r');
    expect(compareSync('pä💡', made)).toBe(true);
    const corrected = await hash('pä💡\u007F\r', 'pä\r');
    expect(corrected.code).toBe(0);
  });

  test('must be the same twice', async () => {
    const { code, errors, hash: made } = await hash('secret\r', 'Secret\r');
    expect([code, made]).toEqual([1, '']);
    expect(errors).toBe('Password: \nAgain: \nthe two passwords differ\n');
  });

  test('is refused before it is typed again', async () => {
    const { code, errors } = await hash('\r', 'x\r');
    expect([code, errors]).toEqual([2, 'Password: \nthe password is empty\n']);
  });

  test('can be given up', async () => {
    for (const chunks of [['sec\u0003'], ['\u0004'], ['secret\r', '\u0003'], ['sec'], []]) {
      const { code, errors, hash: made } = await hash(...chunks);
      expect([code, made]).toEqual([1, '']);
      expect(errors).toEndWith('\ngiven up: nothing was changed\n');
    }
  });
});

describe('hash-password', () => {
  test('prints a hash that can be configured', async () => {
    const io = piped('sec', new TextEncoder().encode('ret\n'));
    expect(await printPasswordHash({ passwordStdin: true, ...COST_4 }, io)).toBe(0);
    expect(io.output).toMatch(/^\$2b\$04\$[./A-Za-z0-9]{53}\n$/);
    expect(compareSync('secret', io.output.trim())).toBe(true);
    expect(io.errors).toBe('');
  });

  test('takes the usual cost unless told otherwise', async () => {
    const io = piped('secret');
    expect(await printPasswordHash({ passwordStdin: true }, io)).toBe(0);
    expect(io.output).toStartWith('$2b$10$');
  });

  test('removes one line end only, and takes no endless input', async () => {
    for (const text of ['secret\n\n', 'x'.repeat(5_000), '\n', '']) {
      const io = piped(text);
      expect(await printPasswordHash({ passwordStdin: true, ...COST_4 }, io)).toBe(2);
      expect(io.output).toBe('');
    }
  });
});

describe('user passwd', () => {
  test('changes the password of an account that is there', async () => {
    const { file, state, told, hashes } = await configured('access: {push: users}');
    const passwd = async (name: string) => {
      const io = piped('new');
      const code = await userPasswd({ file, name, passwordStdin: true, ...COST_4 }, io);
      return [code, told(io.output + io.errors)];
    };
    const missing = 'there is no alice in DIR/data/_entrepot/htpasswd; "entrepot user add" adds an account\n';
    expect(await passwd('alice')).toEqual([1, missing]);
    await userAdd({ file, name: 'alice', passwordStdin: true, ...COST_4 }, piped('old'));
    expect(await passwd('alice')).toEqual([
      0,
      'changed the password of alice in DIR/data/_entrepot/htpasswd\n',
    ]);
    expect(compareSync('new', (await hashes()).get('alice') ?? '')).toBe(true);
    await writeFile(state, 'carol:{SHA}x\n');
    expect((await passwd('alice'))[0]).toBe(1);
    expect((await passwd('carol'))[0]).toBe(0);
    expect([...(await hashes()).keys()]).toEqual(['carol']);
  });
});

describe('user remove', () => {
  test('removes an account, and leaves the others', async () => {
    const { file, told, hashes } = await configured(
      `users: {carol: '${CONFIGURED}'}`,
      'access: {push: users}',
    );
    for (const name of ['alice', 'bob']) {
      await userAdd({ file, name, passwordStdin: true, ...COST_4 }, piped('x'));
    }
    const remove = async (name: string) => {
      const io = printed();
      return [await userRemove({ file, name }, io), told(io.output + io.errors)];
    };
    expect(await remove('alice')).toEqual([0, 'removed alice from DIR/data/_entrepot/htpasswd\n']);
    expect(await remove('alice')).toEqual([1, 'there is no alice in DIR/data/_entrepot/htpasswd\n']);
    expect((await remove('carol'))[0]).toBe(1);
    expect((await remove('a b'))[0]).toBe(2);
    expect([...(await hashes()).keys()]).toEqual(['bob']);
  });
});

describe('user list', () => {
  test('shows accounts, where they are defined, and their groups', async () => {
    const { folder, file, told } = await configured(
      `users: {zoe: '${CONFIGURED}', alice: {password: '${CONFIGURED}', groups: [dev]}}`,
      'groups: {ops: [alice, bob]}',
      'auth: {htpasswd: {realm: x, path: DIR/people}}',
    );
    await writeFile(`${folder}/people`, `bob:${TWO}\nalice:${TWO}\nold:x\n`);
    const io = printed();
    expect(await userList({ file }, io)).toBe(0);
    expect(told(io.output).replaceAll(/ {2,}/g, ' | ').split('\n')).toEqual([
      'NAME | DEFINED IN | GROUPS',
      'alice | DIR/config.yml | dev, ops',
      'alice | DIR/people (not used: the one above counts) | dev, ops',
      'bob | DIR/people | ops',
      'zoe | DIR/config.yml | -',
      '',
    ]);
    expect(told(io.errors)).toContain('warning: DIR/people: line 3 is ignored');
    expect(io.output + io.errors).not.toContain('$2b$');
  });

  test('says so when there are none', async () => {
    const { file, told } = await configured();
    const io = printed();
    expect(await userList({ file }, io)).toBe(0);
    expect(io.output).toBe('');
    expect(told(io.errors)).toBe(
      `there are no accounts, neither in the configuration nor in DIR/data/_entrepot/htpasswd\n${HINT}`,
    );
  });

  test('fails when the file cannot be read', async () => {
    const { folder, file } = await configured('auth: {htpasswd: {realm: x, path: DIR/people}}');
    await writeFile(`${folder}/people`, Uint8Array.of(0xff));
    await chmod(`${folder}/people`, 0o600);
    const io = printed();
    expect(await userList({ file }, io)).toBe(1);
    expect(io.errors).toContain('it is not UTF-8 text');
  });
});
