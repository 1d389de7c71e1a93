import { type Document, LineCounter, parseAllDocuments } from 'yaml';
import type { Findings } from './findings.ts';
import { type Node, type Place, ScalarNode } from './tree.ts';
import { TreeReader, Unreadable } from './tree-reader.ts';

/** What `registry:2` lets pass: YAML 1.1 words (`yes`, `on`), merge keys, duplicate keys. */
const OPTIONS = {
  version: '1.1',
  merge: true,
  uniqueKeys: false,
  strict: false,
  prettyErrors: false,
} as const;

/**
 * Reads YAML as leniently as gopkg.in/yaml.v2, the parser of `registry:2`. Only the first document counts.
 * @param variable the environment variable that the text came from; without it places are lines of the file
 * @returns undefined when there is a problem, told to `findings`; an empty text is a null scalar
 */
export function parseYaml(text: string, findings: Findings, variable?: string): Node | undefined {
  const lines = new LineCounter();
  const places = (offset: number): Place => {
    if (variable !== undefined) return { variable };
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const documents = parseDocuments(text, lines);
  if (documents === undefined) {
    findings.problem(places(0), 'not valid YAML: nested too deeply');
    return undefined;
  }
  const [first, second] = documents;
  if (first === undefined) return new ScalarNode(null, '', false, places(0));
  tellErrors(first, places, findings);
  if (first.errors.length > 0) return undefined;
  if (second !== undefined) {
    findings.warning(places(second.range[0]), 'a second YAML document has no effect; only the first is read');
  }
  const reader = new TreeReader(first, places, findings);
  try {
    return reader.read(first.contents, first.range[0], 0);
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    findings.problem(places(error.offset), error.message);
    return undefined;
  }
}

/** None for an empty text; undefined when it is nested so deeply that it cannot be read. */
function parseDocuments(text: string, lineCounter: LineCounter): readonly Document.Parsed[] | undefined {
  try {
    const documents = parseAllDocuments(text, { ...OPTIONS, lineCounter });
    return 'empty' in documents ? [] : documents;
  } catch (error) {
    // The parser is recursive: some ten thousand brackets exhaust the stack.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Tells the first error of each line: the others mostly follow from it. */
function tellErrors(document: Document.Parsed, places: (offset: number) => Place, findings: Findings): void {
  const lines = new Set<number>();
  for (const { pos, message } of document.errors) {
    const place = places(pos[0]);
    const line = 'line' in place ? place.line : 0;
    if (lines.has(line) || lines.size === 10) continue;
    lines.add(line);
    // The parser is recursive, and catches its own overflow in places.
    const isOverflow = message.includes('call stack');
    const isStar = message.startsWith('Alias cannot be an empty string');
    const told = isStar
      ? 'a star stands for something else in YAML; put it in quotes: "*"'
      : withoutQuotes(message);
    findings.problem(place, `not valid YAML: ${isOverflow ? 'nested too deeply' : told}`);
  }
}

/** Without what the library quotes from the text, which may be a secret and may have many lines. */
function withoutQuotes(message: string): string {
  return message.replace(/:? ".*$/s, '').split('\n', 1)[0] ?? '';
}
