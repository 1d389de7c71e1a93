import { writeFile } from 'node:fs/promises';
import { collectGarbage, startDockerRegistry } from '../harness/docker-registry.ts';
import { freePort } from '../harness/ports.ts';
import { startRegistryUnderTest } from '../harness/registry-under-test.ts';
import type { RunningRegistry } from '../harness/running-registry.ts';
import type { Finished } from '../harness/tools.ts';
import { createWorkspace, type Workspace } from '../harness/workspace.ts';

/** One data folder and one configuration file, which the two servers open in turn at the same address. */
export interface OneFolder {
  readonly workspace: Workspace;
  readonly dataDirectory: string;
  readonly configFile: string;
  /** `http://127.0.0.1:PORT`, whichever server runs. */
  readonly url: string;
  readonly host: string;
  /** Ends the server that runs, if any, and starts Debian's on the folder. */
  openWithDockerRegistry(): Promise<void>;
  /** Ends the server that runs, if any, and starts Entrepot on the folder. */
  openWithEntrepot(): Promise<void>;
  /** Ends the server and runs `docker-registry garbage-collect` on the folder. */
  collectGarbage(options?: { deleteUntagged?: boolean }): Promise<Finished>;
  close(): Promise<void>;
}

/** The configuration of an operator of registry:2, in the style of its documentation, comments and all. */
function configText(dataDirectory: string, host: string): string {
  return `# Our registry
version: 0.1
log:
  level: warn
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: ${dataDirectory}
  delete:
    enabled: true
http:
  addr: ${host}
  secret: as long as both know it
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
`;
}

/** Makes the folder and the file; starts nothing. */
export async function createOneFolder(label = 'dropin'): Promise<OneFolder> {
  const workspace = await createWorkspace(label);
  const dataDirectory = await workspace.folder('registry');
  const configFile = workspace.join('config.yml');
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  await writeFile(configFile, configText(dataDirectory, host));

  const options = { configFile, port, dataDirectory };
  let running: RunningRegistry | undefined;
  const stop = async () => {
    const registry = running;
    running = undefined;
    await registry?.dispose();
  };
  return {
    workspace,
    dataDirectory,
    configFile,
    url: `http://${host}`,
    host,
    openWithDockerRegistry: async () => {
      await stop();
      running = await startDockerRegistry(options);
    },
    openWithEntrepot: async () => {
      await stop();
      running = await startRegistryUnderTest(options);
    },
    collectGarbage: async (flags = {}) => {
      await stop();
      return await collectGarbage(configFile, flags);
    },
    close: async () => {
      await stop();
      await workspace.remove();
    },
  };
}
