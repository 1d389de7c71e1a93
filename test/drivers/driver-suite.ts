/**
 * The behaviour that every storage driver has: the contract of src/drivers/driver.ts. Each test has empty storage,
 * and fails when anything is left in it afterwards that is no object.
 */
import { afterEach, beforeEach, describe, expect } from 'bun:test';
import { appendingSuite } from './appending.ts';
import { changingSuite } from './changing.ts';
import { listingSuite } from './listing.ts';
import { readingSuite } from './reading.ts';
import type { Subject } from './subject.ts';
import { writingSuite } from './writing.ts';

/** Declares the tests for the drivers that `open` gives. */
export function driverSuite(name: string, open: () => Promise<Subject>): void {
  describe(name, () => {
    let subject: Subject | undefined;
    const driver = () => {
      if (subject === undefined) throw new Error('the storage was not opened');
      return subject.driver;
    };
    beforeEach(async () => {
      subject = await open();
    });
    afterEach(async () => {
      const left = await subject?.leftovers();
      await subject?.dispose();
      subject = undefined;
      expect(left).toEqual([]);
    });
    describe('read', () => readingSuite(driver));
    describe('write', () => writingSuite(driver));
    describe('list', () => listingSuite(driver));
    describe('delete and move', () => changingSuite(driver));
    describe('append', () => appendingSuite(driver));
  });
}
