import type { GetCase } from './subject.ts';
export function referrerCases(_: GetCase): void {}
