// Optimisers, schedules and gradient clipping.
#pragma once

#include "optim/clip.h"
#include "optim/optimizer.h"
#include "optim/optimizers.h"
#include "optim/parameters.h"
#include "optim/plateau.h"
#include "optim/schedule.h"
