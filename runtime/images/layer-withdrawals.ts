/** The recorded layer folders that are being removed. No pull may claim them meanwhile. */
export interface LayerWithdrawals {
  isWithdrawn(folder: string): boolean;
  /**
   * Keeps recorded folders from every new claim while `remove` removes them, rows and files. Call it in the
   * same event loop turn in which they were found to have no owner and no claim: a later pull unpacks the
   * layer again.
   */
  withdraw(folders: readonly string[], remove: () => Promise<void>): Promise<void>;
  /**
   * Resolves, and never rejects, when the pending removals end; undefined when there is none. Until then
   * their places are not free.
   */
  withdrawing(): Promise<unknown> | undefined;
}

export function createLayerWithdrawals(): LayerWithdrawals {
  const withdrawn = new Set<string>();
  const removals = new Set<Promise<void>>();
  return {
    isWithdrawn: (folder) => withdrawn.has(folder),
    async withdraw(gone, remove) {
      for (const folder of gone) withdrawn.add(folder);
      const removal = remove();
      removals.add(removal);
      try {
        await removal;
      } finally {
        removals.delete(removal);
        for (const folder of gone) withdrawn.delete(folder);
      }
    },
    withdrawing: () => (removals.size === 0 ? undefined : Promise.allSettled(removals)),
  };
}
