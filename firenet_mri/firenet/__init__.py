"""The method: problem, primal-dual step, schedules, network and certificate."""
