import { basics } from './basics.ts';
import { blobScenario } from './blobs.ts';
import { sparseDataSet, standardDataSets, tagParameterDataSet } from './data-sets.ts';
import { dataSetScenario } from './manifests.ts';
import type { Observations } from './observations.ts';
import { previousContent } from './previous-content.ts';
import { previousPush } from './previous.ts';
import { referenceScenarios } from './references.ts';
import type { Scenario } from './scenario.ts';

/** Every scenario, in the order in which they run; made anew for each run, as scenarios keep state. */
export function allScenarios(observations: Observations, options: { readonly sparse: boolean }): readonly Scenario[] {
  return [
    ...basics,
    blobScenario('sha256'),
    blobScenario('sha512'),
    ...standardDataSets().map((set) => dataSetScenario(set)),
    dataSetScenario(tagParameterDataSet('sha256'), 'dev'),
    dataSetScenario(tagParameterDataSet('sha512'), 'dev'),
    ...(options.sparse ? [dataSetScenario(sparseDataSet())] : []),
    ...referenceScenarios(),
    previousPush,
    previousContent(),
    observations.scenario(),
  ];
}
