import { hash } from 'node:crypto';

/** One layer of one image: its content, and the layers below it. */
export interface LayerPosition {
  readonly diffId: string;
  /** Identifies the layer with everything below it (image-spec, config.md, "Layer ChainID"). */
  readonly chainId: string;
}

/** Returns the positions of an image's layers. @param diffIds lowest first */
export function chainIds(diffIds: readonly string[]): LayerPosition[] {
  let chain = '';
  return diffIds.map((diffId) => {
    chain = chain === '' ? diffId : `sha256:${hash('sha256', `${chain} ${diffId}`, 'hex')}`;
    return { diffId, chainId: chain };
  });
}
