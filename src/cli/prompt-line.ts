import type { CommandIo } from './command-io.ts';

/** One line of what is typed, without its end; what came so far when the input ends. */
export async function promptLine({ input }: CommandIo): Promise<string> {
  let text = '';
  for await (const chunk of input) {
    text += chunk.toString();
    const end = text.indexOf('\n');
    if (end >= 0) return text.slice(0, end);
  }
  return text;
}
