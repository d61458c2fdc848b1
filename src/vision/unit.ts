/** One unit of a network as what is explained, attacked or raised. */
import { usageError } from "../errors.js";
import { formatShape, reduceMean, select } from "../graph/index.js";
import type { Target } from "./targets.js";

/** A channel of a site: its mean over places, or its number at one of them; a feature of a site [batch, features]. */
export interface Unit {
  readonly site: string;
  readonly channel: number;
  /** Row and column; the mean over all unless given. */
  readonly place?: readonly [number, number];
}

/** A unit as a target: for `activationMaximization`, `gradCam` and the others. */
export const unit =
  ({ site, channel, place }: Unit): Target =>
  (call) => {
    const value = call.site(site);
    const [, channels] = value.shape;
    if (
      value.shape.length < 2 ||
      !Number.isInteger(channel) ||
      channel < 0 ||
      (typeof channels === "number" && channel >= channels)
    )
      throw usageError(`"${site}" ${formatShape(value.shape)} has no channel ${channel}`);
    const plane = select(value, 1, channel);
    const axes = plane.shape.slice(1).map((_, i) => i + 1);
    if (axes.length === 0) return plane;
    if (place === undefined) return reduceMean(plane, axes);
    return select(select(plane, 1, place[0]), 1, place[1]);
  };
