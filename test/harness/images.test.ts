import { expect, test } from 'bun:test';
import { bigImage, busyboxImage, layeredImage, multiArchImage } from './images.ts';
import { layoutBlob } from './oci-layout.ts';
import { run } from './tools.ts';
import { createWorkspace } from './workspace.ts';

test('umoci builds an image with busybox in it', async () => {
  const workspace = await createWorkspace('images');
  const image = await busyboxImage(workspace.join('busybox'));
  expect(image.children).toHaveLength(2);
  expect((await run('skopeo', ['inspect', '--raw', image.reference])).stdout).toBe(
    Buffer.from(image.bytes).toString(),
  );
  await workspace.remove();
});

test('layers are archives, and equal arguments give equal images', async () => {
  const workspace = await createWorkspace('images');
  const image = await layeredImage(workspace.join('one'), { layers: 3 });
  const twin = await layeredImage(workspace.join('two'), { layers: 3 });
  expect(twin.digest).toBe(image.digest);
  const [, first] = image.children;
  const { stdout } = await run('tar', ['-tvzf', layoutBlob(image.layout, first?.digest ?? '')]);
  expect(stdout).toMatch(/2000 .* file-1$/m);
  await run('umoci', ['unpack', '--rootless', '--image', `${image.layout}:latest`, workspace.join('bundle')]);
  await workspace.remove();
});

test('an index names an image for each architecture', async () => {
  const workspace = await createWorkspace('images');
  const index = await multiArchImage(workspace.join('multi'), { architectures: ['amd64', 'arm64'] });
  expect(index.children.map((child) => child.platform?.architecture)).toEqual(['amd64', 'arm64']);
  await run('skopeo', ['copy', '--all', index.reference, `dir:${workspace.join('copy')}`]);
  await workspace.remove();
});

test('a big layer has the size that was asked for', async () => {
  const workspace = await createWorkspace('images');
  const image = await bigImage(workspace.join('big'), 5_000_001);
  const [, layer] = image.children;
  const path = layoutBlob(image.layout, layer?.digest ?? '');
  expect((await run('sha256sum', [path])).stdout).toStartWith(layer?.digest.slice(7) ?? '');
  expect((await run('tar', ['-tvf', path])).stdout).toMatch(/5000001 .* big$/m);
  await workspace.remove();
});
