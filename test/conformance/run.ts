/**
 * The suite as a command:
 *
 *   run.ts URL [--level 1.1|dev] [--repository a/b] [--other-repository c/d] [--username U --password P]
 *              [--filter TEXT] [--specification-only] [--sparse] [--json FILE]
 *
 * Exit status 0: no failures; 1: failures; 2: it could not run.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { summarize, TreePrinter } from './report.ts';
import type { Result } from './report.ts';
import { runConformance } from './suite.ts';

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      level: { type: 'string', default: '1.1' },
      repository: { type: 'string' },
      'other-repository': { type: 'string' },
      username: { type: 'string' },
      password: { type: 'string' },
      filter: { type: 'string' },
      'specification-only': { type: 'boolean', default: false },
      sparse: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const [url] = positionals;
  if (url === undefined || positionals.length > 1) throw new Error('give exactly one registry URL');
  const { level } = values;
  if (level !== '1.1' && level !== 'dev') throw new Error(`--level is 1.1 or dev, not ${level}`);
  const printer = new TreePrinter((line) => console.log(line));
  const results: Result[] = await runConformance({
    url,
    level,
    specificationOnly: values['specification-only'],
    sparse: values.sparse,
    onResult: (result) => printer.print(result),
    ...(values.repository === undefined ? {} : { repository: values.repository }),
    ...(values['other-repository'] === undefined ? {} : { otherRepository: values['other-repository'] }),
    ...(values.username === undefined ? {} : { username: values.username }),
    ...(values.password === undefined ? {} : { password: values.password }),
    ...(values.filter === undefined ? {} : { filter: values.filter }),
  });
  console.log(`\n${summarize(results)}`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
  return results.some((result) => result.status === 'fail') ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 2;
}
