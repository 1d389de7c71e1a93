/**
 * The behaviour that every local registry has, whatever its storage: the contracts of src/oci/registry.ts. Each
 * test has empty storage, and fails when half-written files or empty folders are left in it.
 */
import { afterEach, beforeEach, describe, expect } from 'bun:test';
import type { Subject } from '../drivers/subject.ts';
import { blobCases } from './blob-cases.ts';
import { catalogCases } from './catalog-cases.ts';
import { manifestCases } from './manifest-cases.ts';
import { referrerCases } from './referrer-cases.ts';
import { type Case, newCase } from './subject.ts';
import { tagCases } from './tag-cases.ts';
import { tagRaceCases } from './tag-race-cases.ts';
import { uploadCases } from './upload-cases.ts';
import { uploadRaceCases } from './upload-race-cases.ts';

/** Declares the tests for registries over the storages that `open` gives. */
export function registrySuite(name: string, open: () => Promise<Subject>): void {
  describe(`registry over ${name}`, () => {
    let subject: Subject | undefined;
    let current: Case | undefined;
    const get = () => {
      if (current === undefined) throw new Error('the storage was not opened');
      return current;
    };
    beforeEach(async () => {
      subject = await open();
      current = newCase(subject.driver);
    });
    afterEach(async () => {
      const left = await subject?.leftovers();
      await subject?.dispose();
      // The next upload's folder, or the next lock, will need them.
      expect(left?.filter((path) => !/\/_(?:uploads|locks)\/$/.test(path))).toEqual([]);
    });
    describe('blobs', () => blobCases(get));
    describe('uploads', () => uploadCases(get));
    describe('uploads, several at it', () => uploadRaceCases(get));
    describe('manifests', () => manifestCases(get));
    describe('tags', () => tagCases(get));
    describe('tags, several at them', () => tagRaceCases(get));
    describe('referrers', () => referrerCases(get));
    describe('catalog', () => catalogCases(get));
  });
}
