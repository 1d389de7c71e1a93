import { MemoryDriver } from '../../src/drivers/memory.ts';
import { driverSuite } from './driver-suite.ts';
import { openFilesystem } from './filesystem-subject.ts';
import { FiveMethods } from './five-methods.ts';
import type { Subject } from './subject.ts';

function openMemory(): Promise<Subject> {
  return Promise.resolve({
    driver: new MemoryDriver(),
    leftovers: () => Promise.resolve([]),
    dispose: () => Promise.resolve(),
  });
}

async function withoutCapabilities(opened: Promise<Subject>): Promise<Subject> {
  const subject = await opened;
  return { ...subject, driver: new FiveMethods(subject.driver) };
}

driverSuite('memory driver', openMemory);
driverSuite('filesystem driver', openFilesystem);
driverSuite('memory driver, five methods only', () => withoutCapabilities(openMemory()));
driverSuite('filesystem driver, five methods only', () => withoutCapabilities(openFilesystem()));
