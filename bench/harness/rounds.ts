/**
 * Measures every side once a round, in turn, and the other way round in every second round, so that what else the
 * machine does at a moment falls on all sides alike. Each side runs once before, uncounted, to be warm,
 * unless the caller has seen to that.
 * The n-th samples of the sides are a pair: taken within one round.
 */
export async function interleave<Side extends string, Sample>(
  rounds: number,
  sides: Readonly<Record<Side, () => Promise<Sample>>>,
  warmUp: 'each side once' | 'done' = 'each side once',
): Promise<Record<Side, Sample[]>> {
  const names = Object.keys(sides) as Side[];
  const samples = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Side, Sample[]>;
  if (warmUp !== 'done') for (const name of names) await sides[name]();
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : [...names].reverse())
      samples[name].push(await sides[name]());
  }
  return samples;
}

/** The middle value, or the mean of the two middle ones. NaN for no values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  return upper === undefined || lower === undefined ? Number.NaN : (upper + lower) / 2;
}

/** The quotients of paired samples, `above[i] / below[i]`. */
export function ratios(above: readonly number[], below: readonly number[]): number[] {
  return above.map((value, pair) => value / (below[pair] ?? Number.NaN));
}
