import { PortcullisError } from '../../../base/errors/index.ts';

/** Returns the error of a VRF that the interface cannot join. */
export const vrfUnusable = (name: string, why: string): PortcullisError =>
  new PortcullisError({
    code: 'NETWORK_VRF_UNUSABLE',
    kind: 'precondition',
    attempted: 'put the interface into the VRF',
    on: name,
    why,
    fix: "give another name as 'vrfname', or leave out 'table'",
  });
