import { createCodecs, parseDeclaration } from '../../base/protobuf/index.ts';

/** The answer of a shim after its start. */
export interface StartResult {
  readonly version: number;
  readonly address: string;
  readonly protocol: string;
}

const codec = createCodecs(
  parseDeclaration({
    package: 'containerd.runtime.bootstrap.v1',
    messages: {
      BootstrapParams: {
        instanceId: '1 string',
        namespace: '2 string',
        logLevel: '3 int32',
        containerdVersion: '4 string',
        ttrpcAddress: '5 string',
        grpcAddress: '6 string',
      },
      BootstrapResult: { version: '1 int32', address: '2 string', protocol: '3 string' },
    },
  }),
);

/**
 * Parameters that a shim reads from its standard input (containerd 2.3 and newer, api/runtime/bootstrap/v1).
 */
export const startParameters = codec<{
  readonly instanceId: string;
  readonly namespace: string;
  readonly ttrpcAddress: string;
  readonly grpcAddress: string;
}>('BootstrapParams');

export const startResult = codec<StartResult>('BootstrapResult');

const options = createCodecs(
  parseDeclaration({
    package: 'options',
    messages: {
      Runc: { binaryName: '6 string', root: '7 string', systemdCgroup: '9 bool' },
      Other: { typeUrl: '1 string', configPath: '2 string' },
    },
  }),
);

/** Options of containerd-shim-runc-v2 (containerd, api/types/runc/options/oci.proto). */
export const runcOptions = options<{
  readonly binaryName: string;
  readonly root: string;
  readonly systemdCgroup: boolean;
}>('Runc');

/** Options of other shims: a file of theirs (containerd, api/types/runtimeoptions/v1/api.proto). */
export const fileOptions = options<{ readonly typeUrl: string; readonly configPath: string }>('Other');
