import { median, ratios } from './rounds.ts';

/** `s` and `MiB` are better low, `/s` is better high. */
export type Unit = 's' | 'MiB' | '/s' | 'fsyncs';

/** What must be reached. */
export interface Bound {
  readonly kind: 'at most' | 'at least';
  readonly value: number;
}

/** One line of the result. */
export interface Row {
  readonly work: string;
  readonly unit: Unit;
  /** Median of Entrepot's samples. */
  readonly ours: number;
  readonly peer?: { readonly name: string; readonly value: number };
  /** Median and extremes of the quotients of paired samples, in the direction that the bound is written in. */
  readonly ratio?: {
    readonly of: string;
    readonly median: number;
    readonly min: number;
    readonly max: number;
  };
  /** Of the ratio when there is one, else of `ours`. Without a bound the row is there to explain others. */
  readonly bound?: Bound;
  readonly met?: boolean;
  readonly note?: string;
  readonly samples: Readonly<Record<string, readonly number[]>>;
}

interface Comparison {
  readonly work: string;
  readonly unit: Unit;
  readonly ours: readonly number[];
  readonly peer: { readonly name: string; readonly samples: readonly number[] };
  /**
   * `cost`: ours / theirs, of times and memory ("1.05 x nginx's time"). `speed`: how many times as fast as the peer,
   * which is theirs / ours for times and ours / theirs for rates.
   */
  readonly ratio: 'cost' | 'speed';
  readonly bound?: Bound;
  readonly note?: string;
}

function holds(bound: Bound, value: number): boolean {
  return bound.kind === 'at most' ? value <= bound.value : value >= bound.value;
}

/** A row that puts Entrepot beside another server, sample by sample. */
export function comparison(plan: Comparison): Row {
  const { ours, peer, bound, note } = plan;
  const oursAbove = plan.ratio === 'cost' || plan.unit === '/s';
  const quotients = oursAbove ? ratios(ours, peer.samples) : ratios(peer.samples, ours);
  const ratio = {
    of: plan.ratio,
    median: median(quotients),
    min: Math.min(...quotients),
    max: Math.max(...quotients),
  };
  return {
    work: plan.work,
    unit: plan.unit,
    ours: median(ours),
    peer: { name: peer.name, value: median(peer.samples) },
    ratio,
    ...(bound === undefined ? {} : { bound, met: holds(bound, ratio.median) }),
    ...(note === undefined ? {} : { note }),
    samples: { entrepot: ours, [peer.name]: peer.samples },
  };
}

/** A row about Entrepot alone. `reduce` makes one figure of the samples: the median unless given. */
export function figure(plan: {
  readonly work: string;
  readonly unit: Unit;
  readonly samples: readonly number[];
  readonly reduce?: (samples: readonly number[]) => number;
  readonly bound?: Bound;
  /** False when the work was not done as it should: the bound then counts as not met, whatever the figure. */
  readonly valid?: boolean;
  readonly note?: string;
}): Row {
  const { bound, note } = plan;
  const ours = (plan.reduce ?? median)(plan.samples);
  return {
    work: plan.work,
    unit: plan.unit,
    ours,
    ...(bound === undefined ? {} : { bound, met: plan.valid !== false && holds(bound, ours) }),
    ...(note === undefined ? {} : { note }),
    samples: { entrepot: plan.samples },
  };
}
