"""How many replicas a load needs, simulated from what `bench` measured of one.

`replica` makes a station of a report, `traffic` arrivals of a load, `simulation` lets the one
answer the other, `autoscaler` changes the number of replicas meanwhile, `plan` asks the questions.
"""
