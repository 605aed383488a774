/** How the pieces of one body are received. */
export interface InPlace {
  /**
   * Uses a piece during the call. Returns false if earlier pieces still wait in the body: this one then
   * follows them.
   */
  take?: (bytes: Uint8Array) => boolean;
}

const key = Symbol('receive in place');

type Carried = Readonly<{ [key]?: InPlace }>;

/** Returns the fields of a request that connect it to its {@link InPlace}. */
export function carrying(inPlace: InPlace): object {
  return { [key]: inPlace } satisfies Carried;
}

/** Returns the {@link InPlace} of a request, if it has one. */
export function carriedBy(request: object): InPlace | undefined {
  return (request as Carried)[key];
}
