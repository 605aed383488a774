/** A key of etcd in its current state, or as it was written. */
export interface Written {
  readonly key: string;
  readonly value: Buffer;
  readonly createRevision?: number;
  readonly modRevision?: number;
}

/** A key of a listing. */
export interface Listed extends Written {
  /** Its value was left out, because its host has too many keys. */
  readonly isOverQuota?: true;
}

/** The change of a fact or a key. Without a value it was removed. */
export interface Changed {
  readonly key: string;
  readonly value: Buffer | undefined;
  readonly createRevision?: number;
  readonly modRevision?: number;
}

export interface Fact {
  readonly key: string;
  readonly value: Buffer;
}

/** The facts that are derived from the keys of all hosts. Pure. */
export interface Facts {
  /** Sets the fact, or removes it. A fact that has this value already does not change. */
  say(key: string, value: Buffer | undefined): void;
  all(): readonly Fact[];
  /** @returns the facts that changed since the last call, in this order */
  taken(): readonly Changed[];
  clear(): void;
}

export function createFacts(): Facts {
  const facts = new Map<string, Buffer>();
  let changed: Changed[] = [];
  return {
    say(key, value) {
      const former = facts.get(key);
      if (value === undefined ? former === undefined : former?.equals(value) === true) return;
      if (value === undefined) facts.delete(key);
      else facts.set(key, value);
      changed.push({ key, value });
    },
    all: () => [...facts].map(([key, value]) => ({ key, value })),
    taken() {
      const found = changed;
      changed = [];
      return found;
    },
    clear: () => facts.clear(),
  };
}
