import { expect, test } from 'bun:test';
import { withoutGoValues } from '../../src/cli/go-flags.ts';

test.each<readonly [typed: string, taken: string]>([
  ['garbage-collect --dry-run=true -m=T f', 'garbage-collect --dry-run --delete-untagged f'],
  ['garbage-collect --dry-run=0 -m f', 'garbage-collect -m f'],
  ['garbage-collect -dm=true f', 'garbage-collect --dry-run --delete-untagged f'],
  ['garbage-collect -dm=false f', 'garbage-collect --dry-run f'],
  ['garbage-collect -dqm --quiet=false f', 'garbage-collect --dry-run --delete-untagged f'],
  ['garbage-collect -m=false -m f', 'garbage-collect -m f'],
  ['garbage-collect -m=maybe --other=true f', 'garbage-collect -m=maybe --other=true f'],
  ['garbage-collect -- --dry-run=true', 'garbage-collect -- --dry-run=true'],
  ['serve --help=true', 'serve --help'],
  ['--version=1', '--version'],
  ['gc --dry-run=true', 'gc --dry-run=true'],
])('%s', (typed, taken) => {
  expect(withoutGoValues(typed.split(' '))).toEqual(taken.split(' '));
});
