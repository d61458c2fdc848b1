/** Learning by acting: policies, rollouts, returns, A2C, PPO, DQN, and evolution strategies. */
export {
  type Acted,
  type Actor,
  type ActorOptions,
  actor,
  type PopulationActor,
  populationActor,
  stackedParameters,
} from "./acting.js";
export { type A2cOptions, a2c, type PpoOptions, ppo } from "./actorCritic.js";
export { type CovarianceEvolutionOptions, type CovarianceEvolved, covarianceEvolution } from "./covarianceEvolution.js";
export { type DqnOptions, dqn } from "./dqn.js";
export {
  type CollectOptions,
  collect,
  type Played,
  type PlayOptions,
  type Position,
  playEpisodes,
  type Rollout,
  startPlay,
} from "./episodes.js";
export { centredRanks, type EvolutionOptions, evolutionStrategy, flatNumbers } from "./evolution.js";
export { type Fitness, type FitnessOptions, policyFitness } from "./fitness.js";
export type { LearnEvent, Learned, LearnOptions } from "./learner.js";
export {
  type ActorCriticWeights,
  actionValueLoss,
  advantageActorCriticLoss,
  type ClippedOptions,
  clippedPolicyLoss,
  type PolicyBatch,
} from "./losses.js";
export {
  type DensePolicyOptions,
  type DensePolicyParameters,
  type Distribution,
  densePolicy,
  entropyOf,
  likeliestActions,
  logProbability,
  type Policy,
  type PolicyOutput,
  sampleActions,
} from "./policy.js";
export { type ReplayBuffer, replayBuffer } from "./replay.js";
export {
  type AdvantageOptions,
  type DiscountOptions,
  discountedReturns,
  generalisedAdvantages,
  type Rewards,
  type Valued,
} from "./returns.js";
