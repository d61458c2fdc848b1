/**
 * Every test that may be skipped, and why; the reporter fails the run when one skip more appears. All have twins that
 * never skip.
 */
export const allowedSkips: readonly { readonly file: RegExp; readonly name: RegExp; readonly reason: string }[] = [
  {
    file: /smollm2(Gradients)?\.test\.ts$/,
    name: /needs the real model/,
    reason:
      "no package registry answered, so the real model could not be fetched; twins: agreement.test.ts, gradients.test.ts, and the tests beside each method",
  },
  {
    file: /tokenizer\/oracle\.test\.ts$/,
    name: /SmolLM2's real vocabulary/,
    reason:
      "no package registry answered, so the real vocabulary could not be fetched; twins: the committed vocabularies beside it",
  },
  {
    file: /package\.test\.ts$/,
    name: /needs npm's registry/,
    reason: "npm's registry did not answer; nothing else can install a package",
  },
  {
    file: /sources\/.*\.test\.ts$/,
    name: /pip downloads from a folder of wheels/,
    reason: "the machine has no pip; pip's part is played by a stand-in in the other tests",
  },
];
