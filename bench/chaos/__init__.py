"""Random faults while sessions stream: does every session go on, is every client told, how soon does it move again?"""
