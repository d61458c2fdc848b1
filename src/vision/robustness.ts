/**
 * Robust accuracy: the share of pictures that a network gets right and that an attack does not change its mind about, as a
 * function of how far the attack may go (Madry et al. 2017, table 1 and figure 6).
 */
import { usageError } from "../errors.js";
import type { Network } from "../model/index.js";
import { type Attack, fgsm, noiseAttack, type PgdOptions, pgd } from "./attacks.js";
import { rowsBetween, withRows } from "./rows.js";
import { type Feeds, imageInput, imageOf } from "./targets.js";

export interface RobustAccuracyOptions extends Omit<PgdOptions, "epsilon" | "targeted" | "stepSize"> {
  /** The bounds to try. */
  readonly epsilons: readonly number[];
  /** `pgd` unless given; `noise` is the control. */
  readonly attack?: "pgd" | "fgsm" | "noise";
  /** Pictures that run together; 32 unless given. */
  readonly batchRows?: number;
}

export interface RobustAccuracy {
  /** The share that is classified as labelled, without an attack. */
  readonly clean: number;
  readonly epsilons: readonly number[];
  /** For each bound, the share that is classified as labelled before and after the attack. */
  readonly robust: readonly number[];
  /** The same for every picture: [epsilons][pictures]. */
  readonly survived: readonly (readonly boolean[])[];
}

type Attacker = (network: Network, feeds: Feeds, options: PgdOptions) => Promise<Attack>;
const attackers: Readonly<Record<"pgd" | "fgsm" | "noise", Attacker>> = { pgd, fgsm, noise: noiseAttack };

/**
 * Attacks a set of labelled pictures at every bound, in batches.
 *
 * @param feeds the network's inputs; those that share the image's symbolic number of rows are cut into batches with it
 * @param options those of `pgd`; the length of its steps follows the bound
 */
export async function robustAccuracy(
  network: Network,
  feeds: Feeds,
  { epsilons, attack = "pgd", batchRows = 32, onProgress, ...options }: RobustAccuracyOptions,
): Promise<RobustAccuracy> {
  if (!Number.isInteger(batchRows) || batchRows < 1)
    throw usageError(`batchRows must be a whole number of at least 1, not ${batchRows}`);
  const { name, value } = imageInput(network, options.input);
  const count = imageOf(feeds, name).shape[0] as number;
  const { labels } = options;
  if (labels.length !== count || count === 0)
    throw usageError(`there are ${count} pictures and ${labels.length} labels: give one for each, at least one`);
  const right: boolean[] = [];
  const survived: boolean[][] = epsilons.map(() => []);
  for (let start = 0; start < count; start += batchRows) {
    const end = Math.min(start + batchRows, count);
    const batch = { ...options, labels: labels.slice(start, end) };
    const part = withRows(network, feeds, value, (feed) => rowsBetween(feed, start, end));
    const clean = await noiseAttack(network, part, { ...batch, epsilon: 0 });
    right.push(...clean.success.map((fooled) => !fooled));
    for (const [e, epsilon] of epsilons.entries()) {
      const { success } = await attackers[attack](network, part, { ...batch, epsilon });
      survived[e]?.push(...success.map((fooled, b) => !fooled && right[start + b] === true));
    }
    onProgress?.(end, count);
  }
  const share = (rows: readonly boolean[]) => rows.filter((yes) => yes).length / count;
  return { clean: share(right), epsilons, robust: survived.map(share), survived };
}
