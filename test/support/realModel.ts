/** The real model that tests run on where it can be fetched; `globalSetup.ts` looks for it once. */

/** The reference of the real model, or undefined where it could not be fetched. */
export const realModel = process.env.PATCHCLAMP_TEST_MODEL;

/** Appended to the names of tests that are skipped without the real model; the list of allowed skips knows it. */
export const needsRealModel = "needs the real model";
