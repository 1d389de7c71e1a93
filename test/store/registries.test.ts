import { registrySuite } from './registry-suite.ts';
import { STORAGES } from './subject.ts';

for (const [name, open] of Object.entries(STORAGES)) registrySuite(name, open);
