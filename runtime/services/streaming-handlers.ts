import { join } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import { notReady, notRunning } from '../containers/errors.ts';
import { firstProcess } from '../containers/record.ts';
import type { ContainerRecord } from '../containers/record.ts';
import type { ContainerService } from '../containers/container-service.ts';
import { NamespaceMode } from '../cri/contract/contract.types.ts';
import type { RuntimeServiceHandlers } from '../cri/handlers.ts';
import type { RuntimeHandler } from '../oci/runtime-handler.ts';
import { execHandler } from '../oci/start-command.ts';
import type { ExecTarget } from '../oci/start-command.ts';
import type { SandboxService } from '../pods/sandbox-service.ts';
import type { AskedStreams, AttachPlan, ForwardPlan } from '../streaming/plan.ts';
import type { StreamingService } from '../streaming/streaming-service.ts';
import { badField } from '../cri/bad-field.ts';

type Answered = 'exec' | 'attach' | 'portForward';

/**
 * Creates the handlers of Exec, Attach and PortForward: each request is checked here and answered with the
 * URL of its stream. Semantics: cri-api 0.37 RuntimeService.
 */
export function createStreamingHandlers(parts: {
  readonly streaming: StreamingService;
  readonly sandboxes: Pick<SandboxService, 'require'>;
  readonly containers: Pick<ContainerService, 'require'>;
  readonly handlers: ReadonlyMap<string, RuntimeHandler>;
  /** Absolute path. */
  readonly conmon: string;
  readonly bundle: (containerId: string) => string;
  /** The folder through which monitors' sockets are reached by short paths. */
  readonly attachFolder: string;
}): Pick<RuntimeServiceHandlers, Answered> {
  const { streaming, sandboxes, containers } = parts;
  const running = (id: string, what: string): ContainerRecord => {
    const record = containers.require(given(id, 'container_id'));
    if (record.phase === 'running') return record;
    throw notRunning(record, what);
  };
  const target = (record: ContainerRecord): ExecTarget => {
    const { id, runtimeHandler } = record;
    const handler = parts.handlers.get(runtimeHandler);
    if (handler === undefined) throw unknownHandler(runtimeHandler);
    return {
      id,
      handler: execHandler(handler),
      conmon: parts.conmon,
      init: firstProcess(record),
      dir: parts.bundle(id),
    };
  };
  return {
    exec: async ({ containerId, cmd, ...streams }) => {
      if (cmd.length === 0) throw badField('cmd', 'it is empty', 'send the command');
      const asked = askedStreams(streams);
      const record = running(containerId, 'exec in');
      return {
        url: await streaming.open(record.id, {
          kind: 'exec',
          target: target(record),
          command: cmd,
          streams: asked,
        }),
      };
    },
    attach: async ({ containerId, ...streams }) => {
      const asked = askedStreams(streams);
      const record = running(containerId, 'attach to');
      const plan: AttachPlan = {
        kind: 'attach',
        container: record.id,
        socket: join(parts.attachFolder, record.id.slice(0, 16), 'attach'),
        windowSize: join(parts.bundle(record.id), 'winsz'),
        ...(parts.handlers.get(record.runtimeHandler)?.tasks !== undefined && {
          shimBundle: parts.bundle(record.id),
        }),
        endsWithInput: asked.tty || !record.config.stdinOnce,
        streams: asked,
      };
      return { url: await streaming.open(record.id, plan) };
    },
    portForward: async ({ podSandboxId, port }) => {
      const wrong = port.find((one) => !Number.isInteger(one) || one < 1 || one > 65_535);
      if (wrong !== undefined) throw badField('port', `${wrong} is not a port`, 'send ports from 1 to 65535');
      if (port.length > mostPorts)
        throw badField('port', `it names ${port.length} ports`, `send at most ${mostPorts} ports`);
      const record = sandboxes.require(given(podSandboxId, 'pod_sandbox_id'));
      if (record.phase !== 'ready') throw notReady(record);
      const onHost = record.config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE;
      const namespace =
        onHost || record.namespacesDir === undefined ? undefined : join(record.namespacesDir, 'net');
      const plan: ForwardPlan = {
        kind: 'portforward',
        sandbox: record.id,
        ports: port,
        ...(namespace !== undefined && { namespace }),
      };
      return { url: await streaming.open(record.id, plan) };
    },
  };
}

const mostPorts = 100;

/** Checks the streams as k8s.io/cri-streaming does. */
function askedStreams({ tty, stdin, stdout, stderr }: AskedStreams): AskedStreams {
  if (tty && stderr)
    throw badField(
      'stderr',
      'tty and stderr cannot both be true',
      'request only stdout, because a terminal has one output',
    );
  if (!stdin && !stdout && !stderr)
    throw badField('stdin', 'one of stdin, stdout, or stderr must be set', 'ask for one');
  return { tty, stdin, stdout, stderr };
}

function unknownHandler(name: string): PortcullisError {
  return new PortcullisError({
    code: 'RUNTIME_UNKNOWN_HANDLER',
    kind: 'precondition',
    attempted: 'use runtime handler',
    on: name,
    why: 'it is no longer configured, or its program cannot be used',
    fix: 'add it again under "runtimes" in the configuration; if it is there, `portcullis doctor` says why it cannot be used',
  });
}

function given(value: string, field: string): string {
  if (value === '') throw badField(field, 'it is empty', `send ${field}`);
  return value;
}
