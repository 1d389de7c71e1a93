/** Answers questions as RFC 6762 §5 to §7 have it: not at once, not twice, not what is known, and not to everybody. */
import type { Answer } from 'dns-packet';
import type { Channel } from './links.ts';
import { legacyResponse, type Message, recordKey, responses, ttlOf } from './message.ts';
import { PORT, type Sender, type Source } from './multicast.ts';
import { additionalTo, type Announced, answersTo, isUnique } from './records.ts';

/** What others may answer too waits for so long, at random, in milliseconds (RFC 6762 §6). */
const SHARED_DELAY = [20, 120] as const;
/** While more is said of what is known (RFC 6762 §7.2). */
const TRUNCATED_DELAY = [400, 500] as const;
/** A record is sent to everybody once in so many milliseconds, and to defend a name a little sooner (RFC 6762 §6). */
const ONCE_IN = 1_000;
const ONCE_IN_DEFENCE = 250;
/** Of questions whose answers wait. More is somebody's attempt at something. */
const MOST_WAITING = 64;
/** Answers to one alone, in a second. */
const MOST_REPLIES = 50;

interface Waiting {
  readonly channel: Channel;
  readonly answers: Map<string, Answer>;
  readonly timer: NodeJS.Timeout;
}

export class Responder {
  readonly #sender: Sender;
  /** Of each channel and asker, what will be answered. */
  readonly #waiting = new Map<string, Waiting>();
  /** When a record was sent to everybody of a channel. */
  readonly #sent = new Map<string, number>();
  readonly #announced: (channel: Channel) => Announced;
  #replies = { second: 0, count: 0 };

  readonly #now: () => number;

  /**
   * @param announced what is announced on a channel at the moment
   * @param now milliseconds of a clock that nobody sets
   */
  constructor(
    sender: Sender,
    announced: (channel: Channel) => Announced,
    now: () => number = () => performance.now(),
  ) {
    this.#sender = sender;
    this.#announced = announced;
    this.#now = now;
  }

  /** Answers what is ours to answer, soon. */
  query(message: Message, source: Source): void {
    const { channel } = source;
    const { questions, answers: known } = message;
    this.#suppress(source, known);
    const answers = answersTo(this.#announced(channel), questions).filter(
      (answer) => !isKnown(answer, known),
    );
    if (answers.length === 0) return;
    if (source.port !== PORT) {
      if (!this.#mayReply()) return;
      const additionals = additionalTo(this.#announced(channel), answers);
      void this.#sender.reply(source, legacyResponse(message, answers, additionals));
      return;
    }
    // Who claims our name has to hear it, and everybody else as well.
    if (message.authorities.length > 0) return this.#toAll(channel, answers, ONCE_IN_DEFENCE);
    const alone = questions.every(({ unicast }) => unicast);
    if (alone && answers.every((answer) => this.#wasSent(channel, answer, (ttlOf(answer) * 1_000) / 4))) {
      if (!this.#mayReply()) return;
      const additionals = additionalTo(this.#announced(channel), answers);
      for (const bytes of responses(answers, additionals)) void this.#sender.reply(source, bytes);
      return;
    }
    if (message.isTruncated)
      this.#later(`${channel.key} ${source.address}`, channel, answers, TRUNCATED_DELAY);
    else if (answers.every(isUnique)) this.#toAll(channel, answers, ONCE_IN);
    else this.#later(channel.key, channel, answers, SHARED_DELAY);
  }

  /** Somebody else has answered: what he said need not be said again (RFC 6762 §7.4). */
  heard({ answers }: Message, { channel }: Source): void {
    const waiting = this.#waiting.get(channel.key);
    if (waiting === undefined) return;
    for (const answer of answers) {
      const own = waiting.answers.get(recordKey(answer));
      if (own !== undefined && !isUnique(own) && ttlOf(answer) >= ttlOf(own)) {
        waiting.answers.delete(recordKey(answer));
      }
    }
  }

  /** Announces to everybody, whenever that was done last. @returns whether it was sent */
  async announce(channel: Channel, answers: readonly Answer[]): Promise<boolean> {
    this.#note(channel, answers);
    const sent = responses(answers).map((bytes) => this.#sender.send(channel, bytes));
    return (await Promise.all(sent)).every(Boolean);
  }

  /** Nothing that waits is sent any more: it is of a name that was given up. */
  forget(): void {
    for (const { timer } of this.#waiting.values()) clearTimeout(timer);
    this.#waiting.clear();
    this.#sent.clear();
  }

  /** Who asked with TC set says in further messages what is known. */
  #suppress({ channel, address }: Source, known: readonly Answer[]): void {
    const waiting = this.#waiting.get(`${channel.key} ${address}`);
    if (waiting === undefined) return;
    for (const [key, answer] of waiting.answers) if (isKnown(answer, known)) waiting.answers.delete(key);
  }

  #later(
    key: string,
    channel: Channel,
    answers: readonly Answer[],
    [from, to]: readonly [number, number],
  ): void {
    const waiting = this.#waiting.get(key);
    if (waiting === undefined && this.#waiting.size >= MOST_WAITING) return;
    const all = waiting?.answers ?? new Map<string, Answer>();
    for (const answer of answers) all.set(recordKey(answer), answer);
    if (waiting !== undefined) return;
    const timer = setTimeout(
      () => {
        this.#waiting.delete(key);
        this.#toAll(channel, [...all.values()], ONCE_IN);
      },
      from + Math.random() * (to - from),
    );
    timer.unref();
    this.#waiting.set(key, { channel, answers: all, timer });
  }

  #toAll(channel: Channel, answers: readonly Answer[], onceIn: number): void {
    const due = answers.filter((answer) => !this.#wasSent(channel, answer, onceIn));
    if (due.length === 0) return;
    const additionals = additionalTo(this.#announced(channel), due);
    this.#note(channel, due);
    for (const bytes of responses(due, additionals)) void this.#sender.send(channel, bytes);
  }

  #note(channel: Channel, answers: readonly Answer[]): void {
    for (const answer of answers) this.#sent.set(`${channel.key} ${recordKey(answer)}`, this.#now());
  }

  #wasSent(channel: Channel, answer: Answer, within: number): boolean {
    const at = this.#sent.get(`${channel.key} ${recordKey(answer)}`);
    return at !== undefined && this.#now() - at < within;
  }

  #mayReply(): boolean {
    const second = Math.floor(this.#now() / 1_000);
    if (second !== this.#replies.second) this.#replies = { second, count: 0 };
    return (this.#replies.count += 1) <= MOST_REPLIES;
  }
}

/** Whether who asks has it, and for more than half of its time yet (RFC 6762 §7.1). */
function isKnown(answer: Answer, known: readonly Answer[]): boolean {
  const key = recordKey(answer);
  return known.some((one) => recordKey(one) === key && ttlOf(one) >= ttlOf(answer) / 2);
}
