/**
 * Machines on one link, each a network namespace of its own, in a network and a view of the file system that nobody else
 * has: what runs there sees nothing of this machine's network, and everything is gone with the one process that holds it.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { type Daemon, startDaemon } from '../harness/daemon.ts';
import { type Finished, requireTool, run, type RunOptions } from '../harness/tools.ts';
import type { Workspace } from '../harness/workspace.ts';

export interface LinkLab {
  /** Runs a command on a machine to its end. */
  run(machine: string, command: readonly string[], options?: RunOptions): Promise<Finished>;
  /** Starts what keeps running there. */
  start(
    machine: string,
    command: readonly string[],
    options: Parameters<typeof startDaemon>[2],
  ): Promise<Daemon>;
  /** avahi, with a bus of its own, so that its tools and nss-mdns find it. */
  startAvahi(machine: string): Promise<void>;
  dispose(): Promise<void>;
}

/** Each machine has one interface, `eth0`. */
export async function createLinkLab(
  workspace: Workspace,
  machines: Readonly<Record<string, readonly string[]>>,
): Promise<LinkLab> {
  for (const tool of ['ip', 'dbus-daemon', 'avahi-daemon', 'avahi-browse', 'sysctl']) requireTool(tool);
  await writeFile(workspace.join('nsswitch.conf'), 'hosts: files mdns_minimal [NOTFOUND=return] dns\n');
  const lines = [
    'set -e',
    'mount -t tmpfs tmpfs /run',
    'mkdir /run/dbus /run/netns',
    `mount --bind ${workspace.join('nsswitch.conf')} /etc/nsswitch.conf`,
    'ip link set lo up',
    'ip link add link0 type bridge mcast_snooping 0',
    'ip link set link0 up',
    ...Object.entries(machines).flatMap(([name, addresses], index) => [
      `ip netns add ${name}`,
      `ip link add port${index} type veth peer name eth0 netns ${name}`,
      `ip link set port${index} master link0 up`,
      `ip -n ${name} link set lo up`,
      // Without it an address of IPv6 is of no use for two seconds, which are spent here many times.
      `ip netns exec ${name} sysctl -qw net.ipv6.conf.eth0.accept_dad=0`,
      // Else the second address of a network goes with the first.
      `ip netns exec ${name} sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1`,
      `ip -n ${name} link set eth0 up`,
      ...addresses.map((address) => `ip -n ${name} addr add ${address} dev eth0`),
    ]),
    'echo ready',
    'exec sleep 600',
  ];
  const script = workspace.join('link.sh');
  await writeFile(script, lines.join('\n'));
  const user = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const log = async () => readFile(workspace.join('link.log'), 'utf8').catch(() => '');
  const holder = await startDaemon(
    requireTool('unshare'),
    [...user, '--mount', '--net', 'sh', '-c', `exec sh ${script} > ${workspace.join('link.log')} 2>&1`],
    { ready: async () => (await log()).includes('ready') },
  ).catch(async (error: unknown) => {
    throw new Error(`the link could not be made: ${await log()}`, { cause: error });
  });
  const enter = (machine: string) => [
    '--target',
    String(holder.pid),
    '--mount',
    '--net',
    ...(user.length === 0 ? [] : ['--user', '--preserve-credentials']),
    `--wd=${workspace.path}`,
    'ip',
    'netns',
    'exec',
    machine,
  ];
  const daemons: Daemon[] = [];
  const start: LinkLab['start'] = async (machine, command, options) => {
    const daemon = await startDaemon(requireTool('nsenter'), [...enter(machine), ...command], options);
    daemons.push(daemon);
    return daemon;
  };
  return {
    start,
    run: (machine, command, options) => run('nsenter', [...enter(machine), ...command], options),
    async startAvahi(machine) {
      const bus = workspace.join('bus.conf');
      await writeFile(bus, BUS);
      const conf = workspace.join('avahi.conf');
      await writeFile(conf, AVAHI);
      const here = (args: readonly string[]) =>
        run('nsenter', [...enter(machine), ...args], { mayFail: true });
      await start(machine, ['dbus-daemon', `--config-file=${bus}`, '--nofork', '--nopidfile'], {
        ready: async () => (await here(['test', '-S', '/run/dbus/system_bus_socket'])).code === 0,
      });
      await start(
        machine,
        ['avahi-daemon', '-f', conf, '--no-drop-root', '--no-chroot', '--no-rlimits', '--no-proc-title'],
        {
          ready: async () =>
            (await here(['avahi-resolve', '-n', 'witness.local'])).stdout.includes('witness'),
        },
      );
    },
    async dispose() {
      await Promise.all(daemons.map((daemon) => daemon.stop().catch(() => undefined)));
      await holder.stop('SIGKILL');
    },
  };
}

const BUS = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow eavesdrop="true"/></policy>
</busconfig>
`;

const AVAHI = `[server]
host-name=witness
use-ipv4=yes
use-ipv6=yes
ratelimit-burst=1000
[wide-area]
enable-wide-area=no
[publish]
publish-hinfo=no
publish-workstation=no
`;
