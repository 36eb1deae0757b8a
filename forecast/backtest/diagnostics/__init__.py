"""What goes on inside a trained network: `dynamics` looks at one recurrent layer, `examine` at a
whole network and its closed loop. For the report; nothing here changes a forecast.
"""
