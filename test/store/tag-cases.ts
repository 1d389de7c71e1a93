import type { GetCase } from './subject.ts';
export function tagCases(_: GetCase): void {}
