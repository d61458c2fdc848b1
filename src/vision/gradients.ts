/**
 * Gradients at the picture itself, for people to look at: plain ones (Simonyan et al. 2013, "Deep inside convolutional
 * networks"), and guided ones, which let through a relu only what is positive both ways (Springenberg et al. 2014,
 * "Striving for simplicity", section 3.4).
 */
import { setImmediate } from "node:timers/promises";
import { usageError } from "../errors.js";
import {
  constantLike,
  expand,
  type GradientRule,
  greater,
  mul,
  pullback,
  relu,
  type Value,
  where,
} from "../graph/index.js";
import type { Network, NetworkCall } from "../model/index.js";
import type { Tensor } from "../runtime/index.js";
import {
  type ClassifierOptions,
  classFeed,
  compileWithClasses,
  type Feeds,
  imageInput,
  imageOf,
  scoresSite,
  type Target,
  targetValue,
} from "./scores.js";
