"""`onelane demo`: the users' stories, played by find-then-create and by Onelane, judged on the true state."""
