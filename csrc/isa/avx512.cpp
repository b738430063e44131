#include "isa/library.h"
