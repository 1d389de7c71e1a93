import type { GetCase } from './subject.ts';
export function manifestCases(_: GetCase): void {}
