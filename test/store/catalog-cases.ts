import type { GetCase } from './subject.ts';
export function catalogCases(_: GetCase): void {}
