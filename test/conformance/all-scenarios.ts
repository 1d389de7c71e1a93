import { tagPaging } from './tag-paging.ts';
import { catalog } from './catalog.ts';
import { referrerDetails } from './referrer-details.ts';
import { errors } from './errors.ts';
import { names } from './names.ts';
import { manifestRules } from './manifest-rules.ts';
import { manifestLimits } from './manifest-limits.ts';
import { dockerTypes } from './docker-types.ts';
import { conditional } from './conditional.ts';
import { uploadSessions } from './upload-sessions.ts';
import { concurrency } from './concurrency.ts';
import { requests } from './requests.ts';
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
export function allScenarios(
  observations: Observations,
  options: { readonly sparse: boolean },
): readonly Scenario[] {
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
    tagPaging(),
    catalog,
    referrerDetails(),
    errors,
    names,
    manifestRules,
    manifestLimits,
    dockerTypes(),
    conditional(),
    uploadSessions,
    concurrency,
    requests,
    observations.scenario(),
  ];
}
